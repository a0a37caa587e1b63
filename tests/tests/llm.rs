//! From PHP to an API and back: Apache hands off, the daemon asks, the answer reaches the client.

use e2e::{Apache, Client, Daemon, Ending, Mpm, PATIENCE, events, on_each_mpm, wait_until};
use mock_llm::{MockLlm, Settings};
use tokio::runtime::Runtime;

on_each_mpm! {
    a_prompt_comes_back_from_the_api_as_it_was,
    what_the_api_refuses_is_the_clients_status,
    a_client_that_leaves_ends_the_apis_work,
}

/// What the user typed, whatever it holds.
const ASK: &str = "<?php
header('X-Socket-Handoff: ' . $_SERVER['RUN'] . '/d.sock');
header('X-Handoff-Data: ' . json_encode([
    'prompt' => $_GET['prompt'],
    'protocol' => $_SERVER['SERVER_PROTOCOL'],
]));";

const PROMPT: &str = "%22Gr%C3%BC%C3%9Fe%22%0A%5Cn%F0%9F%98%80";

struct Site {
    apache: Apache,
    daemon: Daemon,
    api: MockLlm,
    _runtime: Runtime,
}

impl Site {
    fn start(mpm: Mpm, settings: Settings) -> Self {
        let runtime = Runtime::new().unwrap();
        let api = runtime.block_on(MockLlm::start(settings)).unwrap();
        let apache = Apache::builder(mpm).php_fpm(2).config("SetEnv RUN ${RUN}").file("ask.php", ASK).start();
        let base = api.base_url();
        let arguments = ["--backend", "openai", "--openai-base", &base];
        let daemon = Daemon::start(apache.socket_path("d.sock"), arguments);
        Self { apache, daemon, api, _runtime: runtime }
    }
}

fn a_prompt_comes_back_from_the_api_as_it_was(mpm: Mpm) {
    let site = Site::start(mpm, Settings { echo: true, ..Settings::default() });
    let mut client = Client::connect(site.apache.addr());
    client.get(&format!("/ask.php?prompt={PROMPT}"));
    let head = client.read_head();
    let (body, ending) = client.read_body(&head);
    let events = events(std::str::from_utf8(&body).unwrap());
    let (done, pieces) = events.split_last().unwrap();
    assert_eq!((ending, done.name.as_str()), (Ending::Framed, "done"));
    let said: String = pieces.iter().map(|piece| piece.data.as_str()).collect();
    assert_eq!(said, "\"Grüße\"\n\\n😀");
}

fn what_the_api_refuses_is_the_clients_status(mpm: Mpm) {
    let site = Site::start(mpm, Settings::default());
    for (pattern, status) in [("status:429", 429), ("status:401", 502), ("status:500", 502)] {
        let response = Client::fetch(site.apache.addr(), &format!("/ask.php?prompt=%5B%5B{pattern}%5D%5Dx"));
        assert_eq!(response.head.status, status, "{pattern}: {}", response.text());
    }
    site.daemon.wait_for_log("outcome=\"refused\"", PATIENCE);
}

fn a_client_that_leaves_ends_the_apis_work(mpm: Mpm) {
    let site = Site::start(mpm, Settings::default());
    let mut client = Client::connect(site.apache.addr());
    client.get("/ask.php?prompt=%5B%5Bstall:3%5D%5Dx");
    client.read_head();
    client.read_chunk().expect("the first pieces");
    drop(client);
    wait_until(PATIENCE, "the API's stream to be cancelled", || site.api.cancelled() == 1);
}
