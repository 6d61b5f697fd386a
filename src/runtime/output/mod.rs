//! Everything that a run prints: values, formatted text, maps, stacks, warnings.
//!
//! In go bytes and their layouts; out come bytes of text or of JSON lines. `value` reads,
//! `text` and `json` spell, `printf`, `mapprint`, `hist` and `stack` put together, `report`
//! places messages in the script, `writer` delivers. What a record means is decided in
//! [`super::event`]. [`profile`] makes of maps with stacks what draws them.

pub mod gfp;
pub mod hist;
pub mod json;
pub mod mapprint;
pub mod names;
pub mod pcap;
pub mod printf;
pub mod profile;
pub mod report;
pub mod stack;
pub mod symbols;
pub mod text;
pub mod time;
pub mod value;
pub mod writer;

pub use names::{Frame, Names, NoSymbols, Symbols};
pub use symbols::SystemSymbols;
pub use time::Clocks;
pub use writer::{Buffering, Writer};

use crate::error::Result;
use crate::object::{MapId, Object};
use crate::runtime::map::MapAccess;
use crate::types::StackTy;

/// How output is spelt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
    /// Stacks of maps as folded lines.
    Folded,
    /// Stacks of maps as a flame graph.
    Flame,
    /// Stacks of maps as a pprof file.
    Pprof,
}

impl Format {
    /// Whether the output is the stacks of maps, and everything else goes elsewhere.
    pub fn is_profile(self) -> bool {
        matches!(self, Self::Folded | Self::Flame | Self::Pprof)
    }
}

/// What spelling a value takes besides its bytes.
pub struct Scope<'a> {
    /// Tables that layouts refer to.
    pub object: &'a Object,
    /// Names of addresses, users, cgroups.
    pub names: &'a mut Names,
    /// Where stacks are.
    pub maps: &'a dyn MapAccess,
    /// Whether control characters in traced strings are made visible.
    pub terminal: bool,
}

impl Scope<'_> {
    /// Appends the frames of a stack that is kept in a map.
    fn stack(
        &mut self,
        ty: StackTy,
        map: MapId,
        id: u64,
        pid: u32,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if id == 0 {
            return Ok(());
        }
        let mut kept = Vec::new();
        if !self.maps.lookup(map, &id.to_ne_bytes(), &mut kept)? {
            out.extend_from_slice(stack::LOST);
            return Ok(());
        }
        stack::frames(self.names, ty, value::stack_addresses(&kept)?, pid, out);
        Ok(())
    }
}

fn push_hex(out: &mut Vec<u8>, n: u64) {
    names::push_display(out, format_args!("{n:#x}"));
}
