<?php

// The smallest endpoint that streams: pass the prompt to the daemon and leave. Ask with
//     curl -N 'http://localhost/php/stream.php?prompt=Hello+there'
// Who may ask, and what, is checked here, before the handoff: chat.php shows how.

declare(strict_types=1);

$data = json_encode([
    'prompt' => $_POST['prompt'] ?? $_GET['prompt'] ?? '',
    'protocol' => $_SERVER['SERVER_PROTOCOL'], // lets the daemon mark the end of the stream (chunked) for HTTP/1.1
], JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE);

header('X-Socket-Handoff: ' . ($_SERVER['HANDOFF_SOCKET'] ?? '/var/run/streaming-daemon.sock'));
header('X-Handoff-Data: ' . $data);
