//! The table of diagnostic codes.
//!
//! A row is `ID Name "one line" "longer text";`. The id is what users see and never changes
//! its meaning; the name is what the code says; the longer text is printed by
//! `rtrace explain ID`. Add a row at the end of its range, which tells the subject:
//! 01 syntax, 02 names and scope, 03 types, 04 probes and attach points, 05 builtins and calls,
//! 06 configuration and options, 07 maps, 08 limits and kernel features, 09 run time and
//! attaching. `E` rows are errors, `W` rows warnings.

use std::fmt;

macro_rules! codes {
    ($($id:ident $name:ident $brief:literal $long:literal;)*) => {
        /// A stable diagnostic code. The variant names the mistake; [`Code::id`] is its public id.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $brief] $name,)*
        }

        impl Code {
            /// Every code, in table order.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// The public id, such as `E0101`.
            pub fn id(self) -> &'static str {
                match self { $(Code::$name => stringify!($id),)* }
            }

            /// What the code means, in one line.
            pub fn brief(self) -> &'static str {
                match self { $(Code::$name => $brief,)* }
            }

            /// The explanation that `rtrace explain` prints.
            pub fn explanation(self) -> &'static str {
                match self { $(Code::$name => $long,)* }
            }
        }
    };
}

codes! {
    // 01: syntax
    E0101 Expected "something else was expected here" "The parser knows what must follow at this place and found something else. The message names the missing piece; the caret stands where it belongs.";
    E0102 UnexpectedInput "text that cannot start a statement" "No statement or expression starts like this. Often an operator of another language or a stray bracket is left over.";
    E0103 BadInteger "malformed integer literal" "Integers are decimal, 0x hexadecimal, 0 octal, or DeN; `_` may separate digits; suffixes are u, ul, ull, l, ll and the durations ns us ms s m h d. Values end at 18446744073709551615.";
    E0104 BadEscape "malformed escape in a string" "Known escapes are \\n \\t \\r \\\\ \\\", up to three octal digits (at most \\377), and \\x with one or two hexadecimal digits.";
    E0105 Unterminated "a string or comment has no end" "A string ends on the line it starts on; a block comment needs its `*/`.";
    E0106 Misplaced "a root item stands in the wrong place" "C definitions come first, then `config` and imports, then probes, macros, functions and map declarations.";
    E0107 BadAssignTarget "this cannot be assigned to" "Only variables, maps and map elements can be assigned, incremented or decremented.";
    E0108 ImmutableTuple "tuples and records cannot be changed" "An element of a tuple or record cannot be assigned; build a new value instead.";
    E0109 DuplicateField "a record names a field twice" "Every field of a record has its own name.";
    E0110 TooDeep "the script nests too deeply" "Brackets, operators and conditions may nest up to a fixed depth, which keeps every later step within its stack.";
    E0111 DuplicateConfig "a second config block" "A script has at most one `config` block.";
    E0112 BadAttachPoint "malformed attach point text" "An attach point is a provider followed by parts that are separated by `:`; parts with special characters stand in double quotes.";
    E0113 NotUtf8 "the script is not UTF-8 text" "Scripts are text; bytes outside UTF-8 belong into string literals as \\xHH escapes.";
    E0114 Reserved "a keyword is used as a name" "Keywords cannot name a variable, macro, function or field initializer.";
    E0115 BadCDefinition "a C definition is not understood" "The C part of a script takes preprocessor directives and definitions of structs, unions, enums and typedefs. The message says what is wrong with this one.";
    W0101 MissingHeader "an included header was not found" "Headers are looked for in the -I directories and in the C library's. Without the header its types come from the kernel's BTF, and common constants are built in.";

    // 02: names and scope
    E0201 UndefinedVariable "a variable is used before it exists" "A scratch variable lives in the block that first assigns or declares it.";
    E0202 Shadowing "a variable is declared twice" "Inner blocks cannot declare a variable that an outer block already has.";
    E0203 UndefinedIdent "an unknown identifier" "The name is no builtin, macro, C constant or enumerator.";
    E0204 MacroRedefined "two macros have one signature" "Macros may share a name if the number or kinds of their parameters differ.";
    E0205 MacroRecursion "a macro expands into itself" "Macros are substituted, so a macro cannot use itself, directly or through others.";
    E0206 MacroArgument "a macro argument has the wrong kind" "`$x` parameters take a variable, `@x` parameters a map, plain parameters any expression or a type as `typeof(T)`.";
    E0207 MacroHygiene "a macro touches a map that was not passed in" "Macro bodies can use only maps that are parameters.";
    E0208 MacroMismatch "no definition of a macro fits its call" "No overload has this number and these kinds of parameters.";
    E0209 ImportNotFound "an import was not found" "Imports are looked up beside the importing file and then in the import paths.";
    E0210 ImportRefused "an import is not acceptable" "The file has an unknown extension, is in a directory that everybody can write to, or contains what an imported file must not.";
    E0211 DuplicateDefinition "a name is defined twice" "Functions, map declarations and C types each have one definition.";
    W0201 UnusedMap "a declared map is never used" "The declaration can go.";
    W0202 UnassignedVariable "a variable is used but never assigned" "Its value is always zero.";
    W0203 UnusedVariable "a variable is never used" "The declaration can go.";
    W0204 UseBeforeAssign "a variable is used before it was assigned" "Its value is zero there.";

    // 03: types
    E0301 TypeMismatch "the types do not fit" "A variable, map or operand got a value of a kind it does not accept.";
    E0302 UnknownType "an unknown type" "The type is neither built in, nor defined in the script, nor in the kernel's BTF.";
    E0303 BadOperand "an operator does not accept this type" "The operator is not defined for this type.";
    E0304 BadCast "a cast between these types is not possible" "Integers, pointers and enums convert to each other; arrays of integers convert to integers of the same size.";
    E0305 BadCondition "a value of this type cannot be a condition" "Conditions are integers, booleans, enums or pointers.";
    E0306 UnknownField "the type has no such field" "The structure, union or record has no field of this name.";
    E0307 BadIndex "an index is not usable" "Indices are non-negative integers within the bounds of the array or tuple.";
    E0308 Overflow "a constant expression overflows" "Constants are folded in 64 bits; division by zero and shifts by 64 or more are errors.";
    E0309 Unresolved "a type could not be determined" "Nothing assigns a value that would tell the type.";
    E0310 NotConstant "a constant is required" "`comptime`, sizes and some arguments need a value that is known when the script is compiled.";
    E0311 BadReturn "a return value of the wrong type" "Probes return integers; functions return their declared type.";
    E0312 NotAllowedHere "a statement is not allowed here" "`break` and `continue` belong into loops; some statements cannot stand in a for loop.";
    E0313 BadUnroll "an unusable unroll count" "`unroll` takes a constant from 1 to 100.";
    E0314 NotPrintable "a value of this type cannot be printed" "`none` and context values have no printed form.";
    W0301 ImplicitCast "an implicit cast may change the value" "An explicit cast says that it is meant.";
    W0302 SignedDivision "division of signed operands" "Division and modulo are unsigned at run time.";
    W0303 Unreachable "a statement is never reached" "It follows a return, break, continue or exit.";
    W0304 Discarded "a value is computed and dropped" "Assign it to `_` if that is meant.";
    W0305 UselessCast "a cast to the type the value already has" "The cast can go.";
    W0306 AddrSpace "pointers of different address spaces meet" "Kernel and user pointers are read by different helpers; `kptr()` and `uptr()` say which is meant.";
    W0307 PointerComparison "pointers to different types are compared" "Cast one of them if the comparison is meant.";
    W0308 WhileLoop "while loops are deprecated" "Prefer `for $i : 0..n`, which the kernel bounds.";

    // 04: probes and attach points
    E0401 UnknownProvider "an unknown probe type" "`rtrace -l` lists the probe types.";
    E0402 ProbeArity "wrong number of parts in an attach point" "Each probe type takes a fixed number of parts separated by `:`.";
    E0403 NoMatch "nothing matches an attach point" "The function, event or file does not exist on this machine.";
    E0404 NoAttachPoints "a probe has no valid attach point" "Set `missing_probes` to `warn` or `ignore` if that is expected.";
    E0405 BadOffset "an offset is not usable" "Return probes take no offset; other offsets must lie on an instruction inside the function.";
    E0406 BadRate "an unusable period or frequency" "profile and interval take a positive number of hz, s, ms or us, at least 1 us.";
    E0407 BadTarget "a probe target is not usable" "The binary, address, length or mode in the attach point is not valid.";
    E0408 WrongProbeForBuiltin "a builtin does not exist in this kind of probe" "Arguments, return values and registers exist only in some kinds of probes.";
    E0409 GoReturn "a return probe on a Go function" "Go moves the stacks of its goroutines and reads the return addresses on them; the one that the kernel puts there for a return probe makes the program crash. Probe the return instructions instead, which the message lists: there `reg(\"ax\")` is the first result. `--unsafe` attaches nevertheless.";
    E0420 AmbiguousName "a name means several functions" "Overloads and instances of a template share a qualified name. Paste one of the spellings, or put the name behind `cpp:` to probe all of them.";
    W0401 MissingProbe "an attach point does not exist" "It is skipped because `missing_probes` says so.";

    // 05: builtins and calls
    E0501 UnknownFunction "an unknown function" "The name is no builtin function, macro or function of the script.";
    E0502 ArgumentCount "wrong number of arguments" "The message says how many the function takes.";
    E0503 ArgumentType "an argument of the wrong type" "The message says what the function takes.";
    E0504 LiteralRequired "an argument must be a literal" "Formats, modes and register names are needed when the script is compiled.";
    E0505 BadFormat "a printf format does not fit its arguments" "The number and types of arguments must match the conversions in the format.";
    E0506 Unsafe "an unsafe function without --unsafe" "system, signal, override and write_user change the machine; `--unsafe` allows them.";
    E0507 AssignOnly "an aggregation stands outside a map assignment" "count(), sum(), hist() and the like are assigned to a map.";
    E0508 BadArgument "an argument has an unusable value" "The value is outside of what the function accepts.";
    W0501 ArgumentTruncated "an argument is cut or ignored" "The function does not use all of it.";
    W0502 AsyncInLoop "an asynchronous call in a loop" "It is carried out later, when the map may have changed.";

    // 06: configuration and options
    E0601 UnknownConfig "an unknown configuration option" "The manual lists all options.";
    E0602 BadConfigValue "a configuration value of the wrong kind" "The message says what the option takes.";
    E0603 UnstableFeature "an unstable feature is not enabled" "Set the feature's `unstable_` option to `enable`.";
    E0604 BadOption "a command line option is not usable" "`rtrace --help` lists the options.";
    W0601 UnstableUse "an unstable feature is used" "It may change; its `unstable_` option silences this.";
    W0602 DeprecatedConfig "a configuration option has a new name or no effect" "Use the name in the message.";

    // 07: maps
    E0701 UndefinedMap "a map is read but never written" "Assign to the map somewhere.";
    E0702 MapKeyMismatch "a map is used with different keys" "All uses of a map have the same number and types of keys.";
    E0703 MapKindMismatch "a declared map kind does not suit its values" "Aggregations need per-CPU kinds.";
    E0704 BadMapType "an unknown map kind" "Kinds are hash, lruhash, percpuhash and percpulruhash.";
    E0705 MapNotIterable "a map cannot be iterated" "Only keyed maps of plain or simple aggregated values can be iterated.";
    E0706 AggregationUse "an aggregation is used as a plain value" "Cast it to an integer or keep it in its map.";
    E0707 BadMapKey "a value of this type cannot be a map key" "Aggregations and context pointers cannot be keys.";
    E0708 AggregationBounds "one map has aggregations of different bounds" "All hist(), lhist() and tseries() calls of a map use the same parameters.";

    // 08: limits and kernel features
    E0801 MissingFeature "the kernel lacks a feature" "`rtrace --info` shows what this kernel can do.";
    E0802 TooManyProbes "too many probes" "Raise `max_probes` or `max_bpf_progs`, or narrow the pattern.";
    E0803 TooLarge "a value or program is too large" "A limit of BPF or of the configuration is exceeded.";
    E0804 StackLimit "a program needs too much stack" "BPF programs have 512 bytes of stack.";

    // 09: run time and attaching
    E0901 AttachFailed "a probe could not be attached" "The message has the kernel's reason.";
    E0902 LoadFailed "the kernel refused a program" "`-v` prints the verifier's log.";
    W0901 AttachSkipped "a probe was not attached" "The others go on.";
}

impl Code {
    /// The code with this id; the letter may be lower case.
    pub fn from_id(id: &str) -> Option<Code> {
        Code::ALL
            .iter()
            .copied()
            .find(|c| c.id().eq_ignore_ascii_case(id))
    }

    /// Whether the code is of the `W` family.
    pub fn is_warning(self) -> bool {
        self.id().starts_with('W')
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_well_formed() {
        let mut ids: Vec<_> = Code::ALL.iter().map(|c| c.id()).collect();
        ids.sort_unstable();
        for pair in ids.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
        for id in ids {
            assert_eq!(id.len(), 5, "{id}");
            assert!(
                matches!(
                    &id[..3],
                    "E01"
                        | "E02"
                        | "E03"
                        | "E04"
                        | "E05"
                        | "E06"
                        | "E07"
                        | "E08"
                        | "E09"
                        | "W01"
                        | "W02"
                        | "W03"
                        | "W04"
                        | "W05"
                        | "W06"
                        | "W07"
                        | "W08"
                        | "W09"
                ),
                "{id}"
            );
        }
    }

    #[test]
    fn codes_are_found_by_id() {
        assert_eq!(Code::from_id("e0101"), Some(Code::Expected));
        assert_eq!(Code::from_id("E9999"), None);
        assert_eq!(Code::Expected.to_string(), "E0101");
    }
}
