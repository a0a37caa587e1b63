<?php

// A STAND-IN for the site's own login, so that the chat page can be tried: it asks for no password.
// Do not put it on a public server.
//     GET   who is signed in:  {"user":"demo"} or {"user":null}
//     POST  signs in the demo user

declare(strict_types=1);

session_start([
    'cookie_httponly' => true,
    'cookie_samesite' => 'Strict', // no other site can make a visitor's browser ask the model
    'use_strict_mode' => true,
]);

if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    session_regenerate_id(true);
    $_SESSION['user_id'] = 'demo';
}

header('Content-Type: application/json');
echo json_encode(['user' => $_SESSION['user_id'] ?? null], JSON_THROW_ON_ERROR);
