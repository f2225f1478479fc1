"""CLIP with a residual image tower in PyTorch, after the published architecture: an oracle that shares no code with ours.

Its state dict has the published names.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
  def __init__(self, given, width, stride):
    super().__init__()
    self.stride = stride
    self.conv1, self.bn1 = nn.Conv2d(given, width, 1, bias=False), nn.BatchNorm2d(width)
    self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
    self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
    if stride > 1 or given != 4 * width:
      self.downsample = nn.Sequential(nn.Conv2d(given, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width))
    else:
      self.downsample = nn.Identity()

  def forward(self, x):
    y = F.relu(self.bn1(self.conv1(x)))
    y = F.relu(self.bn2(self.conv2(y)))
    y = self.bn3(self.conv3(F.avg_pool2d(y, self.stride)))
    return F.relu(y + self.downsample(F.avg_pool2d(x, self.stride)))


class Pool(nn.Module):
  def __init__(self, places, width, heads, features):
    super().__init__()
    self.positional_embedding = nn.Parameter(torch.randn(places + 1, width) / width**0.5)
    self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
    self.c_proj, self.heads = nn.Linear(width, features), heads

  def forward(self, x):
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([x.mean(1, keepdim=True), x], 1) + self.positional_embedding

    def split(y):
      return y.unflatten(2, (self.heads, -1)).transpose(1, 2)

    q, k, v = split(self.q_proj(x[:, :1])), split(self.k_proj(x)), split(self.v_proj(x))
    weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
    return self.c_proj((weights @ v).transpose(1, 2).flatten(2)[:, 0])


class Tower(nn.Module):
  def __init__(self, layers, width, side, features):
    super().__init__()
    sizes = [(3, width // 2, 2), (width // 2, width // 2, 1), (width // 2, width, 1)]
    for i, (given, out, stride) in enumerate(sizes, start=1):
      self.add_module(f"conv{i}", nn.Conv2d(given, out, 3, stride, padding=1, bias=False))
      self.add_module(f"bn{i}", nn.BatchNorm2d(out))
    given = width
    for i, blocks in enumerate(layers):
      out = width * 2**i
      first = Block(given, out, 2 if i else 1)
      given = 4 * out
      rest = [Block(given, out, 1) for _ in range(blocks - 1)]
      self.add_module(f"layer{i + 1}", nn.Sequential(first, *rest))
    self.attnpool = Pool((side // 32) ** 2, given, given // 64, features)

  def forward(self, x):
    for i in (1, 2, 3):
      x = F.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
    x = F.avg_pool2d(x, 2)
    return self.attnpool(self.layer4(self.layer3(self.layer2(self.layer1(x)))))


class QuickGELU(nn.Module):
  def forward(self, x):
    return x * torch.sigmoid(1.702 * x)


class TextBlock(nn.Module):
  def __init__(self, width, heads):
    super().__init__()
    self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
    self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
    self.mlp = nn.Sequential()
    self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
    self.mlp.add_module("gelu", QuickGELU())
    self.mlp.add_module("c_proj", nn.Linear(4 * width, width))

  def forward(self, x):
    y = self.ln_1(x)
    mask = torch.full((x.shape[1],) * 2, -torch.inf).triu(1)
    x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
    return x + self.mlp(self.ln_2(x))


class CLIP(nn.Module):
  def __init__(self, features, layers, width, side, text_width, text_layers, vocabulary, length):
    super().__init__()
    self.visual = Tower(layers, width, side, features)
    self.transformer = nn.Module()
    blocks = [TextBlock(text_width, text_width // 64) for _ in range(text_layers)]
    self.transformer.resblocks = nn.Sequential(*blocks)
    self.token_embedding = nn.Embedding(vocabulary, text_width)
    self.positional_embedding = nn.Parameter(torch.randn(length, text_width))
    self.ln_final = nn.LayerNorm(text_width)
    self.text_projection = nn.Parameter(torch.randn(text_width, features) / text_width**0.5)
    self.logit_scale = nn.Parameter(torch.tensor(3.0))

  def text(self, ids):
    x = self.token_embedding(ids) + self.positional_embedding
    x = self.ln_final(self.transformer.resblocks(x))
    return x[torch.arange(len(x)), ids.argmax(1)] @ self.text_projection


def scatter(model, batch):
  """Norms and biases that would show a mistake in them, activations of order 1, running statistics that have followed
  one batch to the end, and no further."""
  for module in model.modules():
    if isinstance(module, nn.Conv2d):
      nn.init.normal_(module.weight, std=(2 / module.weight[0].numel()) ** 0.5)
    elif isinstance(module, nn.Linear):
      nn.init.normal_(module.weight, std=module.in_features**-0.5)
      nn.init.normal_(module.bias, std=0.1)
    elif isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
      nn.init.uniform_(module.weight, 0.5, 1.5)
      nn.init.normal_(module.bias, std=0.1)
    if isinstance(module, nn.BatchNorm2d):
      module.momentum = 1.0
  model.train()
  with torch.no_grad():
    for layer in (model.visual.attnpool.q_proj, model.visual.attnpool.k_proj):
      layer.weight *= 0.3  # else one place has all the attention, and rounding decides which
    model.visual(batch)
  for module in model.modules():
    if isinstance(module, nn.BatchNorm2d):
      module.momentum = 0.1
  return model.eval()
