//! A name server that knows one name: `web.corp.example` is the host in the lan.

use std::net::UdpSocket;

/// The name.
pub(crate) const NAME: &str = "web.corp.example";
const ADDRESS: [u8; 4] = [192, 168, 100, 30];
const TYPE_A: [u8; 4] = [0, 1, 0, 1];

/// Answers for ever.
pub(crate) fn serve(socket: &UdpSocket) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let Some(answer) = answer(&buffer[..length]) else { continue };
        if let Err(error) = socket.send_to(&answer, from) {
            tracing::warn!("answer to {from}: {error}");
        }
    }
}

/// RFC 1035 §4.1: header, one question, at most one answer. `None` for what is no query with one question.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let (header, rest) = query.split_first_chunk::<12>()?;
    if header[2] & 0x80 != 0 || header[4..6] != [0, 1] {
        return None;
    }
    let name_length = rest.iter().position(|byte| *byte == 0)? + 1;
    let (question, kind) = (rest.get(..name_length + 4)?, rest.get(name_length..name_length + 4)?);
    let known = rest.get(..name_length)?.eq_ignore_ascii_case(&encode(NAME));
    let has_answer = known && kind == TYPE_A;
    let mut reply = header[..2].to_vec();
    // A response, recursion available; 3 is "no such name".
    reply.extend([0x81, if known { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(has_answer), 0, 0, 0, 0]);
    reply.extend(question);
    if has_answer {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(ADDRESS);
    }
    Some(reply)
}

fn encode(name: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        name.split('.').flat_map(|label| [label.len() as u8].into_iter().chain(label.bytes())).collect();
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u8) -> Vec<u8> {
        let mut query = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend(encode(name));
        query.extend([0, kind, 0, 1]);
        query
    }

    #[test]
    fn only_the_address_of_the_one_name_is_answered() {
        let found = answer(&query("Web.corp.example", 1)).unwrap();
        assert_eq!((found[..4].to_vec(), found[7]), (vec![7, 9, 0x81, 0x80], 1));
        assert!(found.ends_with(&ADDRESS));
        let no_address = answer(&query(NAME, 28)).unwrap();
        assert_eq!((no_address[3], no_address[7]), (0x80, 0));
        let unknown = answer(&query("other.example", 1)).unwrap();
        assert_eq!((unknown[3], unknown[7]), (0x83, 0));
        assert!(answer(&query(NAME, 1)[..20]).is_none());
    }
}
