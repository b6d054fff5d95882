"""In the place of docker/triton/serve.py: Triton's metrics on the port asked for, and the command beside it."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

PAGE = """# HELP nv_inference_count Number of inferences performed
nv_inference_count{model="small_image",version="1"} {rows}
nv_inference_exec_count{model="small_image",version="1"} {batches}
nv_inference_count{model="small_text",version="1"} 900
nv_inference_exec_count{model="small_text",version="1"} 1
"""


class Metrics(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked = 0

    def do_GET(self) -> None:
        """Thirty rows in ten batches more, each time."""
        Metrics.asked += 1
        page = PAGE.replace("{rows}", str(30 * Metrics.asked)).replace("{batches}", str(10 * Metrics.asked)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        pass


def main() -> int:
    port = next(int(each.partition("=")[2]) for each in sys.argv if each.startswith("--metrics="))
    server = HTTPServer(("127.0.0.1", port), Metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = sys.argv[sys.argv.index("--") + 1 :]
    with subprocess.Popen(command) as gateway:
        try:
            return gateway.wait()
        finally:
            gateway.terminate()


if __name__ == "__main__":
    sys.exit(main())
