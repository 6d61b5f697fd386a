//! One compilation unit: its line table and its tree of functions, in searchable form.
//!
//! In: a unit of DWARF. Out: plain tables that borrow nothing. Names are resolved when a lookup
//! asks, since most functions are never asked for.

use std::sync::Arc;

use gimli::{AttributeValue, DebugInfoOffset, UnitOffset};

use super::{Dwarf, Function, LineAddress, Place, Slice};

/// How many references (abstract origin, specification) lead to a name at most; more is a loop.
const MAX_REFERENCES: usize = 16;
/// Deepest nesting of inlined functions that is kept.
const MAX_INLINE_DEPTH: usize = 256;

/// A unit's tables.
#[derive(Debug, Default)]
pub(super) struct Unit {
    files: Vec<Arc<str>>,
    sequences: Vec<Sequence>,
    rows: Vec<Row>,
    functions: Vec<FunctionEntry>,
    /// By depth of inlining, then by address: 0 for functions with a frame.
    levels: Vec<Vec<Extent>>,
}

/// A run of rows with ascending addresses.
#[derive(Clone, Copy, Debug)]
struct Sequence {
    start: u64,
    end: u64,
    rows: (u32, u32),
}

#[derive(Clone, Copy, Debug)]
struct Row {
    addr: u64,
    file: u32,
    line: u32,
    column: u32,
    is_stmt: bool,
}

#[derive(Clone, Copy, Debug)]
struct FunctionEntry {
    die: UnitOffset,
    /// Where it was inlined: file index, line, column.
    call: (u32, u32, u32),
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    start: u64,
    end: u64,
    function: u32,
}

impl Unit {
    pub(super) fn read(dwarf: &Dwarf<'_>, unit: &gimli::Unit<Slice<'_>>) -> Option<Self> {
        let mut out = Self::default();
        // What was read before damage is kept.
        let _ = out.read_lines(dwarf, unit);
        let _ = out.read_functions(dwarf, unit);
        for level in &mut out.levels {
            level.sort_by_key(|e| e.start);
        }
        out.sequences.sort_by_key(|s| s.start);
        (!out.sequences.is_empty() || !out.functions.is_empty()).then_some(out)
    }

    /// The address ranges of its line table.
    pub(super) fn sequences(&self) -> impl Iterator<Item = (u64, u64)> {
        self.sequences.iter().map(|s| (s.start, s.end))
    }

    /// The chain of functions at `vaddr`, innermost first; `None` if this unit does not hold it.
    pub(super) fn lookup(
        &self,
        dwarf: &Dwarf<'_>,
        offset: DebugInfoOffset,
        vaddr: u64,
    ) -> Option<Vec<Function>> {
        let mut place = self.place(vaddr);
        let mut chain: Vec<u32> = Vec::new();
        for level in &self.levels {
            match extent_at(level, vaddr) {
                Some(e) => chain.push(e.function),
                None => break,
            }
        }
        if chain.is_empty() {
            return place.map(|p| {
                vec![Function {
                    name: None,
                    place: Some(p),
                }]
            });
        }
        let unit = dwarf
            .unit_header(offset)
            .and_then(|header| dwarf.unit(header))
            .ok();
        let mut out = Vec::with_capacity(chain.len());
        for &number in chain.iter().rev() {
            let function = self.functions[number as usize];
            let name = unit
                .as_ref()
                .and_then(|u| name_of(dwarf, u, function.die, MAX_REFERENCES));
            let (file, line, column) = function.call;
            let call = self.files.get(file as usize).filter(|_| line != 0);
            out.push(Function {
                name,
                place: std::mem::replace(
                    &mut place,
                    call.map(|file| Place {
                        file: Arc::clone(file),
                        line,
                        column,
                    }),
                ),
            });
        }
        Some(out)
    }

    /// Where inlined functions begin whose name `wanted` accepts, at most `most`.
    pub(super) fn inlined(
        &self,
        dwarf: &Dwarf<'_>,
        offset: DebugInfoOffset,
        wanted: &dyn Fn(&str) -> bool,
        most: usize,
    ) -> Vec<u64> {
        let header = dwarf.unit_header(offset);
        let Ok(unit) = header.and_then(|header| dwarf.unit(header)) else {
            return Vec::new();
        };
        // A function is inlined many times; its name is read once for each time all the same,
        // since what refers to it is small.
        let deeper = self.levels.iter().skip(1).flatten();
        let is_wanted = |e: &&Extent| {
            let die = self.functions[e.function as usize].die;
            name_of(dwarf, &unit, die, MAX_REFERENCES).is_some_and(|name| wanted(&name))
        };
        deeper
            .filter(is_wanted)
            .take(most)
            .map(|e| e.start)
            .collect()
    }

    /// Adds where `line` starts in each function; remembers the first line after it that has
    /// code. Whether the unit has such a file at all.
    pub(super) fn addresses(
        &self,
        path: &str,
        line: u32,
        column: Option<u32>,
        found: &mut Vec<LineAddress>,
        next: &mut Option<u32>,
    ) -> bool {
        let wanted: Vec<bool> = self.files.iter().map(|f| is_suffix(f, path)).collect();
        if !wanted.contains(&true) {
            return false;
        }
        // The lowest address in each function or inlined copy.
        let mut best: Vec<(Option<u32>, usize)> = Vec::new();
        let mut seen = false;
        for (at, row) in self.rows.iter().enumerate() {
            if !wanted.get(row.file as usize).copied().unwrap_or(false) {
                continue;
            }
            seen = true;
            if row.line > line {
                *next = Some(next.map_or(row.line, |n| n.min(row.line)));
            }
            let fits = row.line == line && row.is_stmt && column.is_none_or(|c| c == row.column);
            if !fits {
                continue;
            }
            let owner = self
                .levels
                .iter()
                .map_while(|level| extent_at(level, row.addr))
                .last()
                .map(|e| e.function);
            match best.iter_mut().find(|b| b.0 == owner && owner.is_some()) {
                Some(b) if self.rows[b.1].addr <= row.addr => {}
                Some(b) => b.1 = at,
                None => best.push((owner, at)),
            }
        }
        found.extend(best.into_iter().map(|(_, at)| {
            let row = &self.rows[at];
            LineAddress {
                vaddr: row.addr,
                place: Place {
                    file: Arc::clone(&self.files[row.file as usize]),
                    line: row.line,
                    column: row.column,
                },
            }
        }));
        seen
    }

    fn place(&self, vaddr: u64) -> Option<Place> {
        let at = self.sequences.partition_point(|s| s.start <= vaddr);
        let s = self.sequences[..at].last().filter(|s| vaddr < s.end)?;
        let rows = &self.rows[s.rows.0 as usize..s.rows.1 as usize];
        let at = rows.partition_point(|r| r.addr <= vaddr);
        let row = rows[..at].last()?;
        // Line 0 is code that belongs to no line.
        let file = self
            .files
            .get(row.file as usize)
            .filter(|_| row.line != 0)?;
        Some(Place {
            file: Arc::clone(file),
            line: row.line,
            column: row.column,
        })
    }

    fn read_lines(
        &mut self,
        dwarf: &Dwarf<'_>,
        unit: &gimli::Unit<Slice<'_>>,
    ) -> gimli::Result<()> {
        let Some(program) = unit.line_program.clone() else {
            return Ok(());
        };
        self.files = file_names(dwarf, unit, program.header());
        let mut rows = program.rows();
        let mut first = 0;
        while let Some((_, row)) = rows.next_row()? {
            if row.end_sequence() {
                let end = self.rows.len();
                if let Some(start) = self.rows.get(first).map(|r| r.addr)
                    // Linkers leave the lines of dropped functions at 0.
                    && start != 0
                    && start < row.address()
                {
                    self.sequences.push(Sequence {
                        start,
                        end: row.address(),
                        rows: (first as u32, end as u32),
                    });
                } else {
                    self.rows.truncate(first);
                }
                first = self.rows.len();
                continue;
            }
            let column = match row.column() {
                gimli::ColumnType::LeftEdge => 0,
                gimli::ColumnType::Column(c) => u32::try_from(c.get()).unwrap_or(0),
            };
            self.rows.push(Row {
                addr: row.address(),
                file: u32::try_from(row.file_index()).unwrap_or(u32::MAX),
                line: row
                    .line()
                    .map_or(0, |l| u32::try_from(l.get()).unwrap_or(0)),
                column,
                is_stmt: row.is_stmt(),
            });
        }
        self.rows.truncate(first);
        Ok(())
    }

    fn read_functions(
        &mut self,
        dwarf: &Dwarf<'_>,
        unit: &gimli::Unit<Slice<'_>>,
    ) -> gimli::Result<()> {
        let mut entries = unit.entries();
        // Depths of the functions that enclose the current entry.
        let mut enclosing: Vec<isize> = Vec::new();
        while let Some(entry) = entries.next_dfs()? {
            let depth = entry.depth();
            while enclosing.last().is_some_and(|&d| d >= depth) {
                enclosing.pop();
            }
            let level = match entry.tag() {
                gimli::DW_TAG_subprogram => {
                    // Local classes have methods of their own inside a function.
                    enclosing.clear();
                    0
                }
                gimli::DW_TAG_inlined_subroutine => enclosing.len(),
                _ => continue,
            };
            enclosing.push(depth);
            if level >= MAX_INLINE_DEPTH {
                continue;
            }
            let function = self.functions.len() as u32;
            let mut any = false;
            if let Ok(mut ranges) = dwarf.die_ranges(unit, entry) {
                while let Ok(Some(r)) = ranges.next() {
                    if r.begin == 0 || r.begin >= r.end {
                        continue;
                    }
                    if self.levels.len() <= level {
                        self.levels.resize_with(level + 1, Vec::new);
                    }
                    self.levels[level].push(Extent {
                        start: r.begin,
                        end: r.end,
                        function,
                    });
                    any = true;
                }
            }
            if !any {
                continue;
            }
            let number = |name| {
                entry
                    .attr_value(name)
                    .and_then(|v| match v {
                        AttributeValue::FileIndex(i) => Some(i),
                        v => v.udata_value(),
                    })
                    .and_then(|v| u32::try_from(v).ok())
                    .unwrap_or(0)
            };
            self.functions.push(FunctionEntry {
                die: entry.offset(),
                call: (
                    number(gimli::DW_AT_call_file),
                    number(gimli::DW_AT_call_line),
                    number(gimli::DW_AT_call_column),
                ),
            });
        }
        Ok(())
    }
}

/// The extent that covers `vaddr`: functions of one level do not overlap.
fn extent_at(level: &[Extent], vaddr: u64) -> Option<&Extent> {
    let at = level.partition_point(|e| e.start <= vaddr);
    level[..at].last().filter(|e| vaddr < e.end)
}

/// Whether `path` is `file` or ends it at a component.
fn is_suffix(file: &str, path: &str) -> bool {
    file.strip_suffix(path)
        .is_some_and(|head| head.is_empty() || head.ends_with('/') || path.starts_with('/'))
}

/// Full paths by the index that rows use.
fn file_names(
    dwarf: &Dwarf<'_>,
    unit: &gimli::Unit<Slice<'_>>,
    header: &gimli::LineProgramHeader<Slice<'_>>,
) -> Vec<Arc<str>> {
    let text = |value| {
        let slice = dwarf.attr_string(unit, value).ok()?;
        Some(String::from_utf8_lossy(slice.slice()).into_owned())
    };
    let unit_dir = unit
        .comp_dir
        .map(|d| String::from_utf8_lossy(d.slice()).into_owned());
    // Before version 5 files count from 1.
    let mut names: Vec<Arc<str>> = Vec::with_capacity(header.file_names().len() + 1);
    if header.version() <= 4 {
        names.push(Arc::from(""));
    }
    for file in header.file_names() {
        let mut path = String::new();
        let dir = file.directory(header).and_then(text).unwrap_or_default();
        for part in [
            unit_dir.as_deref().unwrap_or(""),
            &dir,
            &text(file.path_name()).unwrap_or_default(),
        ] {
            if part.starts_with('/') {
                path.clear();
            } else if !path.is_empty() && !path.ends_with('/') && !part.is_empty() {
                path.push('/');
            }
            path.push_str(part);
        }
        names.push(Arc::from(path));
    }
    names
}

/// The linkage name, else the name, of an entry or of what it refers to.
fn name_of(
    dwarf: &Dwarf<'_>,
    unit: &gimli::Unit<Slice<'_>>,
    die: UnitOffset,
    left: usize,
) -> Option<String> {
    let entry = unit.entry(die).ok()?;
    let text = |name| {
        let value = entry.attr_value(name)?;
        let slice = dwarf.attr_string(unit, value).ok()?;
        Some(slice.to_string_lossy().into_owned())
    };
    if let Some(name) =
        text(gimli::DW_AT_linkage_name).or_else(|| text(gimli::DW_AT_MIPS_linkage_name))
    {
        return Some(name);
    }
    let refer = |name| entry.attr_value(name);
    let origin = refer(gimli::DW_AT_abstract_origin).or_else(|| refer(gimli::DW_AT_specification));
    let referred = match origin {
        Some(_) if left == 0 => None,
        Some(AttributeValue::UnitRef(at)) => name_of(dwarf, unit, at, left - 1),
        Some(AttributeValue::DebugInfoRef(at)) => name_in_other_unit(dwarf, at, left - 1),
        _ => None,
    };
    referred.or_else(|| text(gimli::DW_AT_name))
}

fn name_in_other_unit(dwarf: &Dwarf<'_>, at: DebugInfoOffset, left: usize) -> Option<String> {
    let mut headers = dwarf.units();
    while let Ok(Some(header)) = headers.next() {
        if let Some(die) = at.to_unit_offset(&header) {
            let unit = dwarf.unit(header).ok()?;
            return name_of(dwarf, &unit, die, left);
        }
    }
    None
}
