<?php
// Streams events to the client, whose connection is standard output: the whole HTTP response is written here.
//   streaming-daemon exec -- php examples/handlers/stream.php

declare(strict_types=1);

// Data over 100 KiB does not fit into the environment and is in a file that is already open.
$fd = getenv('HANDOFF_DATA_FD');
$data = $fd === false ? (string) getenv('HANDOFF_DATA') : file_get_contents("php://fd/$fd");
$request = $data === '' ? new stdClass() : json_decode($data);

if (!$request instanceof stdClass) {
    echo "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nThe data is no JSON object.\n";
    fwrite(STDERR, 'bad handoff data: ' . json_last_error_msg() . "\n");  // goes to the daemon's log
    exit(1);
}

echo "HTTP/1.1 200 OK\r\n"
    . "Content-Type: text/event-stream; charset=utf-8\r\n"
    . "Cache-Control: no-cache\r\n"
    . "X-Accel-Buffering: no\r\n"
    . "Connection: close\r\n\r\n";

$prompt = is_string($request->prompt ?? null) ? $request->prompt : 'Hello';
foreach (preg_split('/(?<=\s)/u', "You said: $prompt") as $word) {
    // A line break in the text would end the event: each line is a data line of its own.
    foreach (preg_split('/\r\n|\r|\n/', $word) as $line) {
        echo "data: $line\n";
    }
    echo "\n";
    flush();
}
echo "event: done\ndata: [DONE]\n\n";
