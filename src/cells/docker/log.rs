//! Reads the end of a container's log.
//!
//! An engine sends the log of a container without a terminal in frames: a header of eight bytes, the stream's number
//! first and the length last, and then the text. dockworker's own call reads lines of UTF-8 straight from that, and so
//! breaks on the header of every frame longer than 127 bytes; its way to attach understands frames, but engines refuse
//! it while a container is between two restarts, when its log is what one wants. What is left is the call that hands
//! over bytes as they are. It puts the id into the path as it is, so the id carries the path of the log along.

use std::path::Path;

use futures::StreamExt;

use super::DockerCell;
use super::fault::Fault;
use crate::model::ContainerName;

/// How much of the log is kept, in bytes, from its end.
const KEPT: usize = 64 * 1024;

impl DockerCell {
    pub(super) fn read_log(&self, name: &ContainerName, lines: u32) -> Result<Vec<String>, Fault> {
        let id = self.find_existing(name)?.id;
        let call = format!("{id}/logs?stdout=true&stderr=true&tail={lines}&ignored=");
        let text = self.call(self.deadlines.look, move |docker| async move {
            let mut bytes = docker.get_file(&call, Path::new("/")).await?;
            let mut frames = Frames::default();
            while let Some(chunk) = bytes.next().await {
                frames.take(&chunk?);
            }
            Ok(frames.text)
        })?;
        Ok(last_lines(&text, lines))
    }
}

fn last_lines(text: &[u8], lines: u32) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let all: Vec<_> = text.lines().collect();
    let first = all.len().saturating_sub(lines as usize);
    all[first..].iter().map(|line| (*line).to_owned()).collect()
}

/// Takes frames apart that arrive in chunks of any size.
#[derive(Default)]
struct Frames {
    header: Vec<u8>,
    /// How much of the frame's text is still to come.
    awaited: usize,
    /// The end of what has come.
    text: Vec<u8>,
}

impl Frames {
    const HEADER: usize = 8;

    fn take(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            if self.awaited > 0 {
                let (text, rest) = chunk.split_at(self.awaited.min(chunk.len()));
                self.text.extend_from_slice(text);
                self.awaited -= text.len();
                chunk = rest;
            } else {
                let (header, rest) = chunk.split_at((Self::HEADER - self.header.len()).min(chunk.len()));
                self.header.extend_from_slice(header);
                chunk = rest;
                if let [_, _, _, _, a, b, c, d] = self.header[..] {
                    self.awaited = u32::from_be_bytes([a, b, c, d]) as usize;
                    self.header.clear();
                }
            }
        }
        // Twice the limit, so that bytes are seldom moved.
        if self.text.len() > 2 * KEPT {
            self.text.drain(..self.text.len() - KEPT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Frames, KEPT, last_lines};

    fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
        let mut frame = vec![stream, 0, 0, 0];
        frame.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(text);
        frame
    }

    /// Found when dockworker's own log call failed on the first line of 200 characters.
    #[test]
    fn frames_are_taken_apart_however_they_are_cut() {
        let long = "x".repeat(200) + "\n";
        let log = [frame(1, b"a\n"), frame(2, long.as_bytes()), frame(1, b"\xff\n"), frame(1, b"")].concat();
        for size in 1..log.len() {
            let mut frames = Frames::default();
            log.chunks(size).for_each(|chunk| frames.take(chunk));
            assert_eq!(last_lines(&frames.text, 10), ["a", &long[..200], "\u{fffd}"], "in chunks of {size}");
        }
    }

    #[test]
    fn only_the_end_is_kept() {
        let mut frames = Frames::default();
        for number in 0..100_000 {
            frames.take(&frame(1, format!("{number}\n").as_bytes()));
        }
        assert!(frames.text.len() <= 2 * KEPT);
        assert_eq!(last_lines(&frames.text, 2), ["99998", "99999"]);
    }
}
