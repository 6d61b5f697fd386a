//! Capture files of `skboutput()`, in the classic pcap format with nanoseconds.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};

use crate::error::{ErrorExt as _, Result};

/// Magic number of captures whose fractions are nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;
/// `LINKTYPE_ETHERNET`
const ETHERNET: u32 = 1;
/// The length that packets are never cut to.
const SNAPLEN: u32 = 65_535;

/// The capture files of a run, each opened when its first packet comes.
#[derive(Debug, Default)]
pub struct Captures {
    files: HashMap<String, BufWriter<File>>,
}

impl Captures {
    /// Appends the start of a packet of `whole` bytes; `wall` is its time in nanoseconds since
    /// the epoch.
    ///
    /// # Errors
    /// The file cannot be created or written.
    pub fn packet(&mut self, path: &str, wall: i128, packet: &[u8], whole: u32) -> Result<()> {
        let inside = || format!("capture file '{path}'");
        if !self.files.contains_key(path) {
            let mut file = BufWriter::new(File::create(path).with_context(inside)?);
            let version = (2u16, 4u16);
            let mut head = Vec::with_capacity(24);
            head.extend_from_slice(&MAGIC.to_ne_bytes());
            head.extend_from_slice(&version.0.to_ne_bytes());
            head.extend_from_slice(&version.1.to_ne_bytes());
            // Time zone and accuracy, always 0.
            for word in [0, 0, SNAPLEN, ETHERNET] {
                head.extend_from_slice(&word.to_ne_bytes());
            }
            file.write_all(&head).with_context(inside)?;
            self.files.insert(path.to_owned(), file);
        }
        let Some(file) = self.files.get_mut(path) else {
            return Ok(());
        };
        let second = wall.div_euclid(1_000_000_000) as u32;
        let nanosecond = wall.rem_euclid(1_000_000_000) as u32;
        let len = packet.len() as u32;
        let mut head = [0; 16];
        for (at, word) in [second, nanosecond, len, whole.max(len)]
            .into_iter()
            .enumerate()
        {
            head[at * 4..at * 4 + 4].copy_from_slice(&word.to_ne_bytes());
        }
        file.write_all(&head).with_context(inside)?;
        file.write_all(packet).with_context(inside)
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        for (path, file) in &mut self.files {
            file.flush()
                .with_context(|| format!("capture file '{path}'"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_has_one_head_and_its_packets() {
        let path = std::env::temp_dir().join(format!("rtrace-pcap-{}", std::process::id()));
        let name = path.to_str().unwrap();
        let mut c = Captures::default();
        c.packet(name, 1_500_000_000, b"abc", 60).unwrap();
        c.packet(name, 2_000_000_001, b"d", 1).unwrap();
        c.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(bytes.len(), 24 + 16 + 3 + 16 + 1);
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(20)), (MAGIC, ETHERNET));
        assert_eq!((word(24), word(28)), (1, 500_000_000));
        assert_eq!((word(32), word(36)), (3, 60));
        assert_eq!(&bytes[40..43], b"abc");
    }
}
