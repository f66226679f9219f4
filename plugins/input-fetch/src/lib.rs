//! Fetches the pictures that requests name by their http address. Which hosts and addresses may be asked is the host's to say;
//! here redirects are followed and answers put into sentences.

use gesso_plugin::{Fault, InputFetcher, outgoing};
use http::{Request, Response, header};
use url::Url;

/// Redirects that are followed for one picture.
const REDIRECTS_MAX: usize = 5;

struct Plugin;

impl InputFetcher for Plugin {
    fn fetch(reference: &str) -> Result<Vec<u8>, Fault> {
        follow(reference, outgoing::send)
    }
}

gesso_plugin::input_fetcher!(Plugin, manifest = "manifest.json");

/// The body at the end of the redirects.
fn follow(
    reference: &str,
    mut send: impl FnMut(&Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Fault>,
) -> Result<Vec<u8>, Fault> {
    let wrong = |problem: &str| Fault::InvalidInput(format!("{reference:.200} {problem}"));
    let mut url = Url::parse(reference).map_err(|error| wrong(&format!("is no address ({error})")))?;
    for _ in 0..=REDIRECTS_MAX {
        url.set_fragment(None);
        let request = Request::get(url.as_str()).header(header::ACCEPT, "image/*").body(Vec::new());
        let request = request.map_err(|_| wrong("is no address that can be asked"))?;
        let response = send(&request).map_err(|fault| match fault {
            // The same sentence for a name and for an address, so that nobody maps a private network with it.
            Fault::NotPermitted(_) => wrong("leads to a host that this server does not fetch from"),
            Fault::LimitExceeded(_) => wrong("is larger than what this server fetches"),
            other => other,
        })?;
        let status = response.status();
        match response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()) {
            Some(place) if status.is_redirection() => {
                url = url.join(place).map_err(|_| wrong("leads to something that is no address"))?;
            }
            _ if status.is_success() => return Ok(response.into_body()),
            _ if status.is_server_error() => {
                return Err(Fault::Unavailable(format!(
                    "{reference:.200} answered with the status {status}"
                )));
            }
            _ => return Err(wrong(&format!("answered with the status {status}"))),
        }
    }
    Err(wrong(&format!("redirects more than {REDIRECTS_MAX} times")))
}

#[cfg(test)]
mod tests {
    use gesso_plugin::fake;

    use super::*;

    fn answer(status: u16, location: Option<&str>) -> Result<Response<Vec<u8>>, Fault> {
        let answer = Response::builder().status(status);
        let answer = location.into_iter().fold(answer, |answer, place| answer.header("location", place));
        answer.body(b"picture".to_vec()).map_err(|error| Fault::Other(error.to_string()))
    }

    #[test]
    fn redirects_are_followed_from_where_they_stand() -> Result<(), Fault> {
        let mut asked = Vec::new();
        let found = follow("https://a.example/x/y.png?z#part", |request| {
            asked.push(request.uri().to_string());
            if asked.len() == 1 { answer(302, Some("../other.png")) } else { answer(200, None) }
        })?;
        assert_eq!(found, b"picture");
        assert_eq!(asked, ["https://a.example/x/y.png?z", "https://a.example/other.png"]);
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_a_sentence_with_the_reference() {
        let said = |reference: &str, status: u16, location: Option<&str>| match follow(reference, |_| {
            answer(status, location)
        }) {
            Err(Fault::InvalidInput(text)) => text,
            other => format!("{other:?}"),
        };
        assert_eq!(
            said("https://a.example/x", 404, None),
            "https://a.example/x answered with the status 404 Not Found"
        );
        assert!(said("https://a.example/x", 302, Some("/x")).contains("more than 5 times"));
        assert!(said("https://", 200, None).contains("is no address"));
        let denied = follow("https://10.0.0.1/", |_| Err(Fault::NotPermitted("private".into())));
        assert!(matches!(denied, Err(Fault::InvalidInput(text)) if text.contains("does not fetch from")));
        assert!(matches!(follow("https://a.example/", |_| answer(503, None)), Err(Fault::Unavailable(_))));
    }

    #[test]
    fn a_whole_call_asks_the_hosts_that_are_granted() {
        let host = fake::Host::new().answer(|request| match request.uri().path() {
            "/old.png" => answer(301, Some("https://b.example/new.png")),
            _ => answer(200, None),
        });
        let found = host.run(|| Plugin::fetch("https://a.example/old.png?size=2#top"));
        assert_eq!(found, Ok(b"picture".to_vec()));
        let asked = host.requests();
        let asked: Vec<_> = asked.iter().map(|request| request.uri().to_string()).collect();
        assert_eq!(asked, ["https://a.example/old.png?size=2", "https://b.example/new.png"]);
        let refused = fake::Host::new().run(|| Plugin::fetch("https://a.example/x.png"));
        assert!(
            matches!(&refused, Err(Fault::InvalidInput(text)) if text.contains("does not fetch from")),
            "{refused:?}"
        );
    }
}
