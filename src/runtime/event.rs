//! What the records of a run ask for, done: the [`Sink`] of the command line.
//!
//! In go records (header, then what [`EventKind`] says) and maps; out go text or JSON lines to
//! the output, and messages to the error stream. Records that do not have the shape the event
//! table announces are reported and skipped. Output and buffers are reused from event to event.

mod losses;

use std::collections::HashSet;
use std::io::{Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};
use std::{ffi::OsStr, fs::File};

use losses::{Loss, Losses};

use super::map::MapAccess;
use super::output::mapprint::{self, Selection};
use super::output::names::push_display;
use super::output::pcap::Captures;
use super::output::profile::{Collector, flame, folded, pprof};
use super::output::report::{Level, Reporter, site_text};
use super::output::value::{self, Malformed, Value, u32_at, u64_at};
use super::output::{Format, Names, Scope, Writer, json, printf, text, time};
use super::sink::{Flow, Sink};
use super::symbolize::Change;
use crate::error::{Error, ErrorKind, Result};
use crate::object::{
    Event, EventKind, FieldLayout, Loc, MapId, Object, RECORD_HEADER, Site, SiteKind, Stream,
    SymbolCache, UserMap,
};

/// How a [`Printer`] prints.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Text, JSON, or a profile.
    pub format: Format,
    /// Print warnings at all.
    pub warnings: bool,
    /// Also report failed reads and look-ups (`-k`).
    pub helper_warnings: bool,
    /// The output is a terminal: control characters in traced strings are made visible.
    pub terminal: bool,
    /// The same for messages: the error stream is a terminal.
    pub error_terminal: bool,
    /// Colour messages.
    pub color: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: Format::Text,
            warnings: true,
            helper_warnings: false,
            terminal: false,
            error_terminal: false,
            color: false,
        }
    }
}

/// Prints what a run produces.
pub struct Printer<'o> {
    object: &'o Object,
    names: Names,
    writer: Writer,
    errors: Box<dyn Write>,
    options: Options,
    /// Text on its way to a JSON string, a command line or the error stream.
    scratch: Vec<u8>,
    /// Scalar maps that are printed at the end although they hold nothing but zero.
    zeroed: HashSet<MapId>,
    losses: Losses,
    /// Runtime errors that were reported.
    failures: u64,
    captures: Captures,
    /// Stacks, if they are the output.
    stacks: Collector,
}

impl<'o> Printer<'o> {
    /// A printer for this object's records; messages go to `errors`.
    pub fn new(
        object: &'o Object,
        names: Names,
        writer: Writer,
        errors: Box<dyn Write>,
        options: Options,
    ) -> Self {
        Self {
            object,
            names,
            writer,
            errors,
            options,
            scratch: Vec::new(),
            zeroed: HashSet::new(),
            losses: Losses::new(object),
            failures: 0,
            captures: Captures::default(),
            stacks: Collector::default(),
        }
    }

    /// How many runtime errors were reported so far, failed assertions among them.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Says on the error stream what went wrong.
    ///
    /// # Errors
    /// Output that was kept back cannot be written.
    pub fn message(&mut self, level: Level, text: &str) -> Result<()> {
        if level == Level::Warning && !self.options.warnings {
            return Ok(());
        }
        self.complain(|r, out| r.plain(level, text.as_bytes(), out))
    }

    /// Puts a message together and writes it, after the output that came before it.
    fn complain(&mut self, f: impl FnOnce(&Reporter<'_>, &mut Vec<u8>)) -> Result<()> {
        self.writer.flush_lines()?;
        let reporter = Reporter {
            sources: &self.object.sources,
            color: self.options.color,
        };
        let mut out = Vec::new();
        f(&reporter, &mut out);
        // Nobody can be told that the error stream does not work.
        let _ = self.errors.write_all(&out);
        Ok(())
    }

    fn event(&mut self, event: &'o Event, bytes: &[u8], maps: &dyn MapAccess) -> Result<Flow> {
        let json = self.options.format == Format::Json;
        let mut scope = Scope {
            object: self.object,
            names: &mut self.names,
            maps,
            terminal: self.options.terminal && !json,
        };
        let scratch = &mut self.scratch;
        scratch.clear();
        let out = self.writer.buffer();
        match &event.kind {
            EventKind::Printf {
                stream: Stream::Out,
                format,
                args,
            } => {
                if json {
                    printf::format(&mut scope, format, args, bytes, scratch)?;
                    json::text_line("printf", scratch, out);
                } else {
                    printf::format(&mut scope, format, args, bytes, out)?;
                }
            }
            EventKind::Printf {
                stream,
                format,
                args,
            } => {
                scope.terminal = self.options.error_terminal && !json;
                printf::format(&mut scope, format, args, bytes, scratch)?;
                self.script_message(*stream, event.loc)?;
            }
            EventKind::Print { value } => {
                print_value(&mut scope, json, value::field(value, bytes)?, out)?;
            }
            EventKind::Value(layout) => {
                let payload = bytes.get(RECORD_HEADER as usize..).ok_or(Malformed)?;
                print_value(&mut scope, json, value::read(layout, payload)?, out)?;
            }
            EventKind::PrintMap { map, top, div } => {
                let user = user_map(self.object, *map)?;
                let entries = mapprint::snapshot(self.object, *map, maps, true)?;
                let select = Selection {
                    top: *top,
                    div: *div,
                };
                let drawn = self.options.format.is_profile()
                    && self
                        .stacks
                        .print(&mut scope, *map, user, &entries, select)?;
                if json {
                    mapprint::as_json(&mut scope, user, &entries, select, out)?;
                } else if !drawn {
                    mapprint::as_text(&mut scope, user, &entries, select, out)?;
                }
            }
            EventKind::Clear(map) => {
                self.stacks.clear(*map);
                self.zeroed.remove(map);
                maps.clear(*map)?;
            }
            EventKind::Zero(map) => {
                let user = user_map(self.object, *map)?;
                let scalar = user.key.is_none();
                if scalar && !mapprint::snapshot(self.object, *map, maps, false)?.is_empty() {
                    self.zeroed.insert(*map);
                }
                self.stacks.clear(*map);
                maps.zero(*map)?;
            }
            EventKind::Time(format) => {
                let formats = &self.object.time_formats;
                let format = formats.get(*format as usize).ok_or(Malformed)?;
                if json {
                    time::now(format, scratch);
                    json::text_line("time", scratch, out);
                } else {
                    time::now(format, out);
                }
            }
            EventKind::Join { sep, count, args } => {
                join(&scope, sep, *count, args, bytes, scratch)?;
                finish_line(json, "join", scratch, out);
            }
            EventKind::System { format, args } => {
                printf::format(&mut scope, format, args, bytes, scratch)?;
                self.system(json)?;
            }
            EventKind::Cat { format, args } => {
                printf::format(&mut scope, format, args, bytes, scratch)?;
                self.cat(json)?;
            }
            EventKind::Exit { code, .. } => {
                return Ok(Flow::Exit(u64_at(bytes, *code as usize)? as i32));
            }
            EventKind::RuntimeError => {
                let site = u32_at(bytes, 4)?;
                let code = u64_at(bytes, RECORD_HEADER as usize)? as i64;
                self.runtime_error(site, code)?;
            }
            EventKind::Unwatch { addr } => {
                return Ok(Flow::Unwatch(u64_at(bytes, *addr as usize)?));
            }
            EventKind::UnwindTables { pid } => {
                return Ok(Flow::Unwind(u32_at(bytes, *pid as usize)?));
            }
            EventKind::SkbOutput { path, data } => {
                let at = bytes.get(*data as usize..).ok_or(Malformed)?;
                let wall = self.names.clocks.wall(0, u64_at(at, 0)?);
                let (len, whole) = (u32_at(at, 8)? as usize, u32_at(at, 12)?);
                let packet = at.get(16..16 + len).ok_or(Malformed)?;
                self.captures.packet(path, wall, packet, whole)?;
            }
        }
        Ok(Flow::Continue)
    }

    /// `errorf()` or `warnf()` with the text in `scratch`.
    fn script_message(&mut self, stream: Stream, loc: Loc) -> Result<()> {
        let (level, kind) = match stream {
            Stream::Warning if !self.options.warnings => return Ok(()),
            Stream::Warning => (Level::Warning, "warnf"),
            Stream::Error | Stream::Out => (Level::Error, "errorf"),
        };
        let text = std::mem::take(&mut self.scratch);
        match self.options.format {
            Format::Json => self.json_message(kind, &text, None, loc),
            _ => self.complain(|r, out| r.said(level, loc, &text, out))?,
        }
        self.scratch = text;
        Ok(())
    }

    /// Appends `{"type": KIND, "msg": ...}` with the place in the script.
    fn json_message(&mut self, kind: &str, text: &[u8], helper: Option<(&str, i64)>, loc: Loc) {
        let reporter = Reporter {
            sources: &self.object.sources,
            color: false,
        };
        let out = self.writer.buffer();
        push_display(out, format_args!("{{\"type\": \"{kind}\", \"msg\": "));
        json::string(text, out);
        if let Some((helper, code)) = helper {
            out.extend_from_slice(b", \"helper\": ");
            json::string(helper.as_bytes(), out);
            push_display(out, format_args!(", \"retcode\": {code}"));
        }
        out.extend_from_slice(b", \"filename\": ");
        json::string(reporter.file_name(loc).as_bytes(), out);
        push_display(
            out,
            format_args!(", \"line\": {}, \"col\": {}}}\n", loc.line, loc.col),
        );
    }

    fn runtime_error(&mut self, site: u32, code: i64) -> Result<()> {
        let at = site as usize;
        let Some(site) = self.object.sites.get(at) else {
            return Err(Malformed.into());
        };
        // Who asks for each failure (-k) gets each, and an assertion says something of its own.
        let each = matches!(
            site.kind,
            SiteKind::Assert | SiteKind::MapLookup | SiteKind::Read
        );
        if !each && self.losses.floods(at) {
            return Ok(());
        }
        self.losses.reported(at);
        if !self.reports(site.kind) {
            return Ok(());
        }
        self.failures += 1;
        let text = site_text(site, code);
        self.site_message(site, &text, Some(code))
    }

    /// Whether failures of this kind are told.
    fn reports(&self, kind: SiteKind) -> bool {
        match kind {
            SiteKind::Assert => true,
            SiteKind::MapLookup | SiteKind::Read => {
                self.options.warnings && self.options.helper_warnings
            }
            _ => self.options.warnings,
        }
    }

    fn site_message(&mut self, site: &Site, text: &str, code: Option<i64>) -> Result<()> {
        let level = match site.kind {
            SiteKind::Assert => Level::Error,
            _ => Level::Warning,
        };
        let helper = code.filter(|_| !site.helper.is_empty());
        if self.options.format == Format::Json {
            let kind = match helper {
                Some(_) => "helper_error",
                None => "runtime_error",
            };
            let helper = helper.map(|code| (site.helper.as_str(), code));
            self.json_message(kind, text.as_bytes(), helper, site.loc);
            return Ok(());
        }
        let detail = helper
            .map(|code| format!("Additional Info - helper: {}, retcode: {code}", site.helper));
        let detail = detail.as_deref();
        self.complain(|r, out| {
            r.at(
                level,
                site.loc,
                text.as_bytes(),
                detail,
                &site.expanded_from,
                out,
            );
        })
    }

    /// Runs the command in `scratch` and prints its output.
    fn system(&mut self, json: bool) -> Result<()> {
        // What was printed before should be seen before what the command does.
        self.writer.flush_lines()?;
        let outcome = Command::new("sh")
            .arg("-c")
            .arg(OsStr::from_bytes(&self.scratch))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output();
        match outcome {
            Ok(done) => finish_line(json, "syscall", &done.stdout, self.writer.buffer()),
            Err(e) => {
                let e = Error::from(e).context("system()");
                return self.message(Level::Error, &e.to_string());
            }
        }
        Ok(())
    }

    /// Prints the file whose path is in `scratch`.
    fn cat(&mut self, json: bool) -> Result<()> {
        let path = OsStr::from_bytes(value::until_nul(&self.scratch)).to_owned();
        let limit = self.object.config.max_cat_bytes;
        let fail = |what: &str, e: std::io::Error| {
            let e = Error::from(e);
            format!("failed to {what} file '{}' ({e})", path.display())
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) => return self.message(Level::Error, &fail("open", e)),
        };
        self.scratch.clear();
        if let Err(e) = file.take(limit).read_to_end(&mut self.scratch) {
            return self.message(Level::Error, &fail("read", e));
        }
        let out = self.writer.buffer();
        if json {
            json::text_line("cat", &self.scratch, out);
        } else {
            out.extend_from_slice(&self.scratch);
        }
        Ok(())
    }

    fn print_maps(&mut self, maps: &dyn MapAccess) -> Result<()> {
        let object = self.object;
        let mut users: Vec<(MapId, &UserMap)> = (0..object.maps.len() as u32)
            .map(MapId)
            .filter_map(|id| Some((id, mapprint::user_map(object, id)?)))
            .collect();
        users.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        let json = self.options.format == Format::Json;
        for (id, user) in users {
            let kept = self.zeroed.contains(&id);
            let entries = mapprint::snapshot(object, id, maps, kept)?;
            let mut scope = Scope {
                object,
                names: &mut self.names,
                maps,
                terminal: self.options.terminal && !json,
            };
            let drawn = self.options.format.is_profile()
                && self
                    .stacks
                    .print(&mut scope, id, user, &entries, Selection::ALL)?;
            let out = self.writer.buffer();
            let before = out.len();
            if json {
                mapprint::as_json(&mut scope, user, &entries, Selection::ALL, out)?;
            } else if !drawn {
                mapprint::as_text(&mut scope, user, &entries, Selection::ALL, out)?;
            }
            self.set_aside(before);
            self.writer.wrote()?;
        }
        Ok(())
    }

    /// Where the output is a profile, what was printed besides goes to the error stream.
    fn set_aside(&mut self, before: usize) {
        if self.options.format.is_profile() {
            let text = self.writer.buffer().split_off(before);
            // Nobody can be told that the error stream does not work.
            let _ = self.errors.write_all(&text);
        }
    }

    /// Writes the profile, if it is the output.
    fn write_profile(&mut self) -> Result<()> {
        if !self.options.format.is_profile() {
            return Ok(());
        }
        let object = self.object;
        let name = |id| mapprint::user_map(object, id).map_or_else(String::new, |u| u.name.clone());
        let profile = std::mem::take(&mut self.stacks).finish(name);
        if profile.is_empty() {
            self.message(
                Level::Warning,
                "no stacks to draw: no map that counts by stack, as in @[ustack] = count(), has \
                 entries.",
            )?;
        }
        let out = self.writer.buffer();
        match self.options.format {
            Format::Flame => flame::write(&profile, "rtrace", out)?,
            Format::Pprof => pprof::write(&profile, out)?,
            _ => folded::write(&profile, out)?,
        }
        self.writer.wrote()
    }

    /// Tells of events that were lost since the last time.
    fn tell_losses(&mut self, maps: &dyn MapAccess) -> Result<u64> {
        let (new, total) = self.losses.look(self.object, maps)?;
        if new == 0 {
            return Ok(total);
        }
        if self.options.format == Format::Json {
            push_display(
                self.writer.buffer(),
                format_args!(
                    "{{\"type\": \"lost_events\", \"count\": {new}, \
                     \"data\": {{\"events\": {new}}}}}\n"
                ),
            );
        } else {
            let s = if new == 1 { "" } else { "s" };
            self.complain(|_, out| push_display(out, format_args!("Lost {new} event{s}\n")))?;
        }
        Ok(total)
    }

    /// How much of the run was lost, as of its end: events, map updates, reads, stacks, runs of
    /// probes. Keys that were looked up in vain are none of it.
    pub fn lost(&self) -> u64 {
        self.losses.total(self.object)
    }

    /// The last word on what is not in the output: each place of the script that lost
    /// something, once, unless each loss was told when it happened.
    fn sum_up_losses(&mut self, maps: &dyn MapAccess) -> Result<()> {
        let total = self.tell_losses(maps)?;
        if !self.options.warnings {
            return Ok(());
        }
        for loss in self
            .losses
            .summary(self.object, self.options.helper_warnings)
        {
            self.loss_message(&loss)?;
        }
        if total > 0 && self.options.format != Format::Json {
            let total = format!("Total lost event count: {total}");
            self.complain(|r, out| r.plain(Level::Warning, total.as_bytes(), out))?;
        }
        Ok(())
    }

    /// Says why addresses may have no name although their process was watched.
    fn tell_unrecorded(&mut self) -> Result<()> {
        match self.names.symbols.incomplete() {
            0 => Ok(()),
            n => self.message(
                Level::Warning,
                &format!(
                    "{n} changes of what processes have mapped were lost or forgotten; addresses \
                     of processes that have ended may have no name."
                ),
            ),
        }
    }

    fn loss_message(&mut self, loss: &Loss) -> Result<()> {
        let text = loss.text();
        if self.options.format != Format::Json {
            return self.complain(|r, out| {
                r.at(Level::Warning, loss.loc, text.as_bytes(), None, &[], out);
            });
        }
        let reporter = Reporter {
            sources: &self.object.sources,
            color: false,
        };
        let out = self.writer.buffer();
        push_display(
            out,
            format_args!(
                "{{\"type\": \"loss\", \"kind\": \"{}\", \"count\": {}, \"msg\": ",
                loss.name(),
                loss.times
            ),
        );
        json::string(text.as_bytes(), out);
        out.extend_from_slice(b", \"filename\": ");
        json::string(reporter.file_name(loss.loc).as_bytes(), out);
        let (line, col) = (loss.loc.line, loss.loc.col);
        push_display(out, format_args!(", \"line\": {line}, \"col\": {col}}}\n"));
        self.writer.wrote()
    }
}

impl Sink for Printer<'_> {
    fn look_at(&mut self, pid: u32) {
        if self.object.names_user_code() && self.object.config.symbol_cache != SymbolCache::None {
            self.names.symbols.look_at(pid);
        }
    }

    fn wants_changes(&mut self) -> bool {
        let wants =
            self.object.names_user_code() && self.object.config.symbol_cache != SymbolCache::None;
        if wants {
            self.names.symbols.watch();
        }
        wants
    }

    fn changed(&mut self, change: Change) {
        self.names.symbols.changed(change);
    }

    fn idle(&mut self) -> bool {
        self.names.symbols.catch_up()
    }

    fn attached(&mut self, probes: usize) -> Result<()> {
        if self.options.format != Format::Json {
            let s = if probes == 1 { "" } else { "s" };
            return self.complain(|_, out| {
                push_display(out, format_args!("Attached {probes} probe{s}\n"));
            });
        }
        push_display(
            self.writer.buffer(),
            format_args!(
                "{{\"type\": \"attached_probes\", \"count\": {probes}, \
                 \"data\": {{\"probes\": {probes}}}}}\n"
            ),
        );
        self.writer.wrote()?;
        self.writer.flush_lines()
    }

    fn warning(&mut self, text: &str) -> Result<()> {
        self.message(Level::Warning, text)
    }

    fn dropped(&mut self, events: u64) -> Result<()> {
        self.losses.dropped(events);
        self.message(
            Level::Warning,
            &format!("{events} events that were still waiting at the end were dropped."),
        )
    }

    fn skipped(&mut self, probe: &str, loc: Loc, times: u64) {
        self.losses.skipped(probe, loc, times);
    }

    fn record(&mut self, bytes: &[u8], maps: &dyn MapAccess) -> Result<Flow> {
        if self.writer.is_broken() {
            return Ok(Flow::Exit(0));
        }
        let before = self.writer.buffer().len();
        let event = u32_at(bytes, 0)
            .ok()
            .and_then(|id| self.object.events.get(id as usize))
            .filter(|e| bytes.len() >= e.size as usize);
        let outcome = match event {
            Some(event) => self.event(event, bytes, maps),
            None => Err(Malformed.into()),
        };
        match outcome {
            Err(e) if e.kind() == ErrorKind::InvalidData => {
                self.writer.buffer().truncate(before);
                let text = format!("a record of {} bytes was skipped: {e}", bytes.len());
                self.complain(|r, out| r.plain(Level::Error, text.as_bytes(), out))?;
                Ok(Flow::Continue)
            }
            Ok(flow) => {
                self.set_aside(before);
                self.writer.wrote()?;
                Ok(flow)
            }
            Err(e) => Err(e),
        }
    }

    fn batch_done(&mut self, maps: &dyn MapAccess) -> Result<()> {
        if self.losses.is_time_to_look() {
            self.tell_losses(maps)?;
        }
        self.writer.flush_lines()
    }

    fn finish(&mut self, maps: &dyn MapAccess) -> Result<()> {
        if self.options.format == Format::Text {
            self.writer.buffer().extend_from_slice(b"\n\n");
        }
        if self.object.config.print_maps_on_exit {
            self.print_maps(maps)?;
        }
        self.write_profile()?;
        self.tell_unrecorded()?;
        self.sum_up_losses(maps)?;
        self.captures.finish()?;
        self.writer.flush()
    }
}

fn user_map(object: &Object, id: MapId) -> Result<&UserMap> {
    Ok(mapprint::user_map(object, id).ok_or(Malformed)?)
}

fn print_value(scope: &mut Scope<'_>, json: bool, v: Value<'_>, out: &mut Vec<u8>) -> Result<()> {
    if json {
        json::open("value", out);
        json::value(scope, v, out)?;
        json::close(out);
    } else {
        text::value(scope, v, out)?;
        out.push(b'\n');
    }
    Ok(())
}

fn join(
    scope: &Scope<'_>,
    sep: &str,
    count: u32,
    args: &[FieldLayout],
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    let count = u32_at(bytes, count as usize)? as usize;
    for (i, arg) in args.iter().take(count).enumerate() {
        if i > 0 {
            out.extend_from_slice(sep.as_bytes());
        }
        let Value::Str { text, .. } = value::field(arg, bytes)? else {
            return Err(Malformed.into());
        };
        let start = out.len();
        out.extend_from_slice(text);
        if scope.terminal {
            text::guard(out, start);
        }
    }
    Ok(())
}

/// Prints text as a line, in JSON without its newline.
fn finish_line(json: bool, kind: &str, text: &[u8], out: &mut Vec<u8>) {
    if json {
        json::text_line(kind, text, out);
    } else {
        out.extend_from_slice(text);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests;
