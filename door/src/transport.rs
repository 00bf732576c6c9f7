//! One socket, with or without TLS, never waited for.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};

/// What reading came to.
pub(crate) enum Received {
    /// So many bytes; `drained` where there are no more for now.
    Data { length: usize, drained: bool },
    /// Nothing for now.
    Blocked,
    /// The other side has ended.
    Ended,
}

/// How far a handshake is.
pub(crate) enum Shaken {
    Done,
    Blocked,
    /// The other side speaks HTTP without TLS.
    Plain,
}

pub(crate) struct Transport {
    pub(crate) stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    sniffed: bool,
}

impl Transport {
    /// # Errors
    /// What rustls says of the configuration.
    pub(crate) fn new(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let tls = tls.map(ServerConnection::new).transpose().map_err(io::Error::other)?.map(Box::new);
        Ok(Self { stream, tls, sniffed: false })
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The certificate that the other side has shown and that has been accepted.
    pub(crate) fn certificate(&self) -> Option<Arc<[u8]>> {
        let shown = self.tls.as_ref()?.peer_certificates()?.first()?;
        Some(Arc::from(shown.as_ref()))
    }

    /// Goes on with the handshake.
    ///
    /// # Errors
    /// When it failed; what the other side is told of it has been sent as far as possible.
    pub(crate) fn shake(&mut self) -> io::Result<Shaken> {
        if !self.sniffed && self.tls.is_some() {
            let mut first = [0];
            match again(|| self.stream.peek(&mut first)) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => self.sniffed = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Shaken::Blocked),
                Err(error) => return Err(error),
            }
            if first[0].is_ascii_uppercase() {
                // What is said from here on is said in plain.
                self.tls = None;
                return Ok(Shaken::Plain);
            }
        }
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            match self.receive()? {
                Received::Data { .. } => {}
                Received::Blocked => return Ok(Shaken::Blocked),
                Received::Ended => return Err(ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(Shaken::Done)
    }

    /// Reads what was meant for us.
    ///
    /// # Errors
    /// What the socket says, or what breaks TLS.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        if self.tls.is_none() {
            return received(again(|| self.stream.read(buffer)), buffer.len());
        }
        loop {
            if let Some(tls) = &mut self.tls {
                match tls.reader().read(buffer) {
                    Ok(0) => return Ok(Received::Ended),
                    Ok(length) => return Ok(Received::Data { length, drained: false }),
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Received::Ended),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            match self.receive()? {
                Received::Data { .. } => {}
                other => return Ok(other),
            }
        }
    }

    /// Reads what is to be thrown away, without a look at it.
    ///
    /// # Errors
    /// What the socket says.
    pub(crate) fn discard(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        received(again(|| self.stream.read(buffer)), buffer.len())
    }

    /// One reading of TLS's own bytes.
    fn receive(&mut self) -> io::Result<Received> {
        let Some(tls) = &mut self.tls else { return Ok(Received::Ended) };
        let outcome = received(again(|| tls.read_tls(&mut self.stream)), usize::MAX)?;
        let understood =
            tls.process_new_packets().map_err(|error| io::Error::new(ErrorKind::InvalidData, error));
        self.flush()?;
        understood?;
        Ok(outcome)
    }

    /// How much has been taken; 0 where nothing is for now.
    ///
    /// # Errors
    /// What the socket says.
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = match &mut self.tls {
            None => again(|| self.stream.write_vectored(slices)),
            Some(_) => self.write_tls(slices),
        };
        match written {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    fn write_tls(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // What is held back has to go first: only then does taking nothing mean that the socket takes nothing.
        self.flush()?;
        let Some(tls) = self.tls.as_mut().filter(|tls| !tls.wants_write()) else { return Ok(0) };
        let taken = tls.writer().write_vectored(slices)?;
        self.flush()?;
        Ok(taken)
    }

    /// Sends what TLS holds back; says whether anything went.
    ///
    /// # Errors
    /// What the socket says.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(false) };
        let mut moved = false;
        while tls.wants_write() {
            match again(|| tls.write_tls(&mut self.stream)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => moved = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }

    /// Whether TLS holds nothing back.
    pub(crate) fn is_flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.wants_write())
    }

    /// Says that nothing more will come; failing is for the reading to notice.
    pub(crate) fn end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        if let Err(error) = self.flush().and_then(|_| self.stream.shutdown(Shutdown::Write)) {
            log::trace!("a connection was gone before its end: {error}");
        }
    }
}

/// Signals are no reason to fail.
fn again<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn received(outcome: io::Result<usize>, room: usize) -> io::Result<Received> {
    match outcome {
        Ok(0) => Ok(Received::Ended),
        Ok(length) => Ok(Received::Data { length, drained: length < room }),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::Blocked),
        Err(error) => Err(error),
    }
}
