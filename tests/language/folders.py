"""Folders of tiny language models with random weights, as the hub has them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from synthjax.language import configs
from synthjax.weights.write import write_params

START, STOP, TEXT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
WORDS = [
  "▁a",
  "▁the",
  "▁photo",
  "▁of",
  "▁ant",
  "▁bee",
  "▁cat",
  "▁",
  "s",
  "t",
  "a",
  "e",
  "n",
  ",",
  ".",
  "o",
  "b",
]
# With the constructs of Qwen3's.
TEMPLATE = """\
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string and not(message.content.startswith('<tool>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and loop.last %}
            {{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' + content }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "data" %}
        {{- {'text': content, 'of': [1, 2]} | tojson }}
        {%- continue %}
    {%- elif message.role != 'system' %}
        {{- raise_exception('no such role: ' + message.role) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""


def qwen3(folder: Path, seed: int = 0, **config: Any) -> Path:
  folder.mkdir(parents=True)
  body = dict(
    architectures=["Qwen3ForCausalLM"],
    model_type="qwen3",
    vocab_size=272,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=256,
    rope_theta=1e6,
    eos_token_id=259,
    torch_dtype="float32",
  )
  _write(folder, body | config, {"eos_token_id": [258, 256]}, seed)
  tokenizer = Tokenizer(
    models.BPE({letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, [])
  )
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = decoders.ByteLevel()
  tokenizer.add_special_tokens([TEXT_END, START, STOP])
  tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
  tokenizer.save(str(folder / "tokenizer.json"))
  about = dict(
    eos_token=STOP,
    pad_token={"content": TEXT_END},
    chat_template=TEMPLATE,
    clean_up_tokenization_spaces=False,
  )
  (folder / "tokenizer_config.json").write_text(json.dumps(about))
  return folder


def t5(folder: Path, seed: int = 0, **config: Any) -> Path:
  folder.mkdir(parents=True)
  body = dict(
    architectures=["T5ForConditionalGeneration"],
    model_type="t5",
    vocab_size=96,
    d_model=64,
    d_kv=16,
    d_ff=256,
    num_layers=2,
    num_heads=4,
    decoder_start_token_id=0,
    eos_token_id=1,
    pad_token_id=0,
    task_specific_params={"translation": {"prefix": "translate: "}},
  )
  _write(folder, body | config, None, seed)
  pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((w, -1.0 - i / 10) for i, w in enumerate(WORDS))]
  tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
  tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
  tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
  tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
  tokenizer.save(str(folder / "tokenizer.json"))
  return folder


def _write(folder: Path, config: dict[str, Any], generation: dict[str, Any] | None, seed: int) -> None:
  """Weights that let each token depend on the ones before: at the usual small ones a model says one word for ever."""
  (folder / "config.json").write_text(json.dumps(config))
  if generation:
    (folder / "generation_config.json").write_text(json.dumps(generation))
  shapes = configs.read_checkpoint(folder, "float32").network.shapes
  noise, made = np.random.default_rng(seed), {}
  for path, leaf in traverse_util.flatten_dict(shapes).items():
    centre, spread = (1.0, 0.3) if path[-1] == "scale" else (0.0, 1.5 * leaf.shape[0] ** -0.5)
    spread = 0.4 if path[-1] == "embedding" else spread
    made[path] = (centre + spread * noise.standard_normal(leaf.shape)).astype(np.float32)
  write_params(folder / "model.safetensors", traverse_util.unflatten_dict(made))
