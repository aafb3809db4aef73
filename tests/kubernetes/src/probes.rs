//! The plain port of a program, asked as a kubelet and Prometheus ask it.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

/// What the program answers whose log says where its port is: status line, headers and text. `None`: the log does not say it yet.
///
/// # Panics
/// If nobody answers there.
pub fn ask(log: &str, path: &str) -> Option<String> {
    let (_, address) = log.split_once("answered on http://")?;
    let is_of_address = |letter: &char| letter.is_ascii_digit() || ".:".contains(*letter);
    let address: String = address.chars().take_while(is_of_address).collect();
    let mut stream = TcpStream::connect(address).expect("the port is open");
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("it listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    Some(text)
}
