//! A door to be measured from outside: `/quick` is answered on an event thread, anything else by a worker. Prints its
//! address.

use std::net::TcpListener;
use std::sync::Arc;

use door::{Call, Handler, Head, Limits, Response, Server, Verdict};

struct Measured {
    quick: Response,
}

impl Handler for Measured {
    type Admitted = ();

    fn admit(&self, head: &Arc<Head>) -> Verdict<()> {
        if head.path() == "/quick" {
            Verdict::Answer(self.quick.clone())
        } else {
            Verdict::Go { admitted: (), body_limit: 1 << 20, at_once: false }
        }
    }

    fn handle(&self, call: Call<()>) {
        call.reply.send(self.quick.clone());
    }
}

fn main() -> std::io::Result<()> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let limits = Limits { max_connections: 50_000, ..Limits::default() };
    let handler = Arc::new(Measured { quick: Response::new(200, "application/json", vec![b'x'; 400]) });
    let server = Server::start(TcpListener::bind(listen)?, None, limits, handler)?;
    println!("{}", server.address());
    loop {
        std::thread::park();
    }
}
