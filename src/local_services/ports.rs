//! Free ports on 127.0.0.1.

use std::io::Read;
use std::net::TcpListener;

use crate::error::Error;

/// Below the range from which the kernel takes ports for outgoing connections (32768 and up), so that a server that is
/// started again finds its port free.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

/// Free now; nobody else of ours picks the same at the same time, but for one in thousands: a start that fails is tried again.
pub(crate) fn free() -> Result<u16, Error> {
    (0..200)
        .map(|_| FIRST + u16::from_le_bytes(random()) % COUNT)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or(Error::NoPort)
}

/// Two ports to try in turn: the one that was used before, where it is free, and a free one.
pub(crate) fn preferring(before: Option<u16>) -> Result<Vec<u16>, Error> {
    let before = before.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    Ok(before.into_iter().chain([free()?, free()?]).take(2).collect())
}

/// Bytes from the kernel's generator.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .expect("every Linux has /dev/urandom");
    bytes
}

/// `2 * N` hexadecimal digits.
pub(crate) fn random_hex<const N: usize>() -> String {
    random::<N>().iter().map(|byte| format!("{byte:02x}")).collect()
}
