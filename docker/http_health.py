"""Exit 0 if a URL answers with 200 and, if a name is given, its JSON calls that part healthy: the image has no curl."""

import json
import sys
import urllib.request

url, *part = sys.argv[1:]
with urllib.request.urlopen(url, timeout=5) as answer:
    body = answer.read()
if part and json.loads(body)[part[0]]["status"] != "healthy":
    sys.exit(1)
