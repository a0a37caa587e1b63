<?php

// An endpoint as a site has it: a session, errors in JSON that a page can show, the prompt by GET (EventSource) or
// POST (fetch). Prefer POST for private prompts: a query string ends up in access logs.

declare(strict_types=1);

// php-fpm and CGI: Apache answers 500 when one header line is longer.
const LONGEST_HEADER_LINE = 8170;

function fail(int $status, string $message): never
{
    http_response_code($status);
    header('Content-Type: application/json');
    exit(json_encode(['error' => $message], JSON_THROW_ON_ERROR));
}

// 1. Who asks? login.php stands in for the site's own login.
session_start();
$userId = $_SESSION['user_id'] ?? null;
if ($userId === null) {
    fail(401, 'Please sign in.');
}
// The answer may take minutes. Release the session's lock, or the user's other requests wait.
session_write_close();

// 2. What do they ask?
$prompt = $_POST['prompt'] ?? $_GET['prompt'] ?? '';
if (!is_string($prompt) || trim($prompt) === '') {
    fail(400, 'The prompt is missing.');
}

// 3. What the daemon gets to know. JSON is one line, as a header must be: json_encode escapes line breaks.
try {
    $data = json_encode([
        'request_id' => bin2hex(random_bytes(8)),
        'user_id' => $userId,
        'prompt' => $prompt,
        'protocol' => $_SERVER['SERVER_PROTOCOL'], // lets the daemon mark the end of the stream for HTTP/1.1
    ], JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
} catch (JsonException) {
    fail(400, 'The prompt is not valid UTF-8.');
}

// 4. Hand off. The daemon answers, over the client's own connection, as soon as this script has ended. Cookies and other
// headers that were set above are on its answer.
header('X-Socket-Handoff: ' . ($_SERVER['HANDOFF_SOCKET'] ?? '/var/run/streaming-daemon.sock'));
$header = 'X-Handoff-Data: ' . $data;
if (strlen($header) <= LONGEST_HEADER_LINE) {
    header($header);
} else {
    // Any length, for a daemon that Apache's configuration declares with protocol=2. The client does not see it.
    header('X-Handoff-Data-From: body');
    echo $data;
}
