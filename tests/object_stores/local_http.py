"""A threaded HTTP server on a free port of this machine, whose stop also ends the connections that clients keep open."""

import contextlib
import http.server
import socket
import struct
import sys
import threading
from collections.abc import Iterator

HOST = "127.0.0.1"


class LocalServer(http.server.ThreadingHTTPServer):
  request_queue_size = (
    256  # a hundred clients connect at once: with 5 places the kernel has them try again after a second
  )
  daemon_threads = True
  block_on_close = False

  def __init__(self, handler: type[http.server.BaseHTTPRequestHandler]):
    super().__init__((HOST, 0), handler)
    self.port = int(self.server_address[1])
    self.stopping = threading.Event()
    self._open: set[socket.socket] = set()
    self._lock = threading.Lock()

  def get_request(self):
    connection, address = super().get_request()
    with self._lock:
      self._open.add(connection)
    return connection, address

  def shutdown_request(self, request):
    """Without the polite end of a stream that the base class sends: after `reset` the client is to see none."""
    with self._lock:
      self._open.discard(request)
    self.close_request(request)

  def handle_error(self, request, client_address):
    if not isinstance(sys.exception(), ConnectionError):  # the client has gone
      super().handle_error(request, client_address)

  @contextlib.contextmanager
  def running(self) -> Iterator[None]:
    thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
      yield
    finally:
      self.stopping.set()
      self.shutdown()
      thread.join()
      self.server_close()
      with self._lock:
        for connection in self._open:
          with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"
  disable_nagle_algorithm = True
  wbufsize = (
    1 << 16
  )  # an answer leaves as a whole: in two packets, the second waits for the client's acknowledgement
  server: LocalServer

  def log_message(self, *args):
    pass

  def body(self, size: int | None = None) -> bytes:
    """Raises where the client goes before it has sent as much."""
    size = int(self.headers.get("Content-Length") or 0) if size is None else size
    body = self.rfile.read(size)
    if len(body) < size:
      raise ConnectionResetError
    return body

  def reset(self) -> None:
    """Ends the connection as a network does: what is on its way is lost, and the client's system says `connection reset`."""
    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    self.close_connection = True
