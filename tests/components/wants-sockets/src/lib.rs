//! Hostile: imports sockets, which no manifest can ask for.

use std::io::Read;
use std::net::TcpStream;

use gesso_plugin::{Fault, Params, RequestHook, Verdict};

struct WantsSockets;

impl RequestHook for WantsSockets {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        let mut secret = String::new();
        TcpStream::connect("127.0.0.1:22")
            .and_then(|mut stream| stream.read_to_string(&mut secret))
            .map_err(|error| Fault::NotPermitted(error.to_string()))?;
        params.set_prompt(secret);
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(WantsSockets, manifest = "manifest.json");
