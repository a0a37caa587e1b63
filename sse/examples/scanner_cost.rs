//! What it costs to cut a stream into events, in nanoseconds an event.

use std::{hint::black_box, time::Instant};

use sse::Scanner;

const ROUNDS: u32 = 2_000;
const EVENTS: usize = 100;

fn measure(what: &str, stream: &[u8], chunk_size: usize) {
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let mut scanner = Scanner::new(1024 * 1024);
        let start = Instant::now();
        let mut events = 0;
        for _ in 0..ROUNDS {
            for mut chunk in stream.chunks(chunk_size) {
                while let Some(block) = scanner.next(black_box(&mut chunk)) {
                    events += usize::from(block.is_ok_and(|block| black_box(block.data).is_some()));
                }
            }
        }
        assert_eq!(events, EVENTS * ROUNDS as usize);
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / events as f64);
    }
    println!("{what:<40} {best:>7.0} ns");
}

fn main() {
    let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(200));
    println!("an event of {} bytes", event.len());
    measure("an event in a chunk", event.repeat(EVENTS).as_bytes(), event.len());
    measure("many events in a chunk", event.repeat(EVENTS).as_bytes(), 16 * 1024);
    measure("an event in two chunks", event.repeat(EVENTS).as_bytes(), event.len().div_ceil(2));
    measure("three bytes a chunk", event.repeat(EVENTS).as_bytes(), 3);
    let named = format!("event: content_block_delta\n{event}");
    measure("an event in a chunk, named", named.repeat(EVENTS).as_bytes(), named.len());
}
