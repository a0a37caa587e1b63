#!/bin/sh
# Large letters. Prints text only, so it runs with --http, which writes the HTTP response around it:
#   streaming-daemon exec --http -- examples/handlers/figlet.sh

# The prompt of data like {"prompt":"Hello"}. jq reads any JSON; without it, take what has no escapes in it.
if command -v jq >/dev/null; then
    prompt=$(printf '%s' "$HANDOFF_DATA" | jq -r '.prompt // empty')
else
    prompt=$(printf '%s' "$HANDOFF_DATA" | sed -n 's/.*"prompt"[[:space:]]*:[[:space:]]*"\([^"\\]*\)".*/\1/p')
fi
: "${prompt:=Hello}"

if command -v figlet >/dev/null; then
    # "--": a prompt that begins with a dash is no option.
    exec figlet -- "$prompt"
fi
printf '*** %s ***\n' "$prompt"
