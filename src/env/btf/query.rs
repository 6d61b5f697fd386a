//! Questions that probes ask of BTF: functions, tracepoint arguments, iterators, constants.

use super::Btf;
use super::raw::Kind;
use crate::ctypes::model::{CType, Param, TypeId, TypeSource};

/// A function's type with the names of its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prototype<'a> {
    /// The type that the kernel wants as the attach target: a function for fentry and iterators, a
    /// typedef for raw tracepoints.
    pub id: TypeId,
    /// The parameters in order.
    pub params: Vec<Param<'a>>,
    /// The return type.
    pub ret: TypeId,
}

/// A constant of some enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant {
    /// The enumeration.
    pub enumeration: TypeId,
    /// The value; of an unsigned 64-bit enumeration, its bit pattern.
    pub value: i64,
}

impl Btf {
    /// The function type below a function, a pointer or a typedef.
    fn function_type(&self, id: TypeId) -> Option<TypeId> {
        let mut id = self.resolve(id);
        if let CType::Pointer(target) = self.ctype(id) {
            id = self.resolve(target);
        }
        matches!(self.ctype(id), CType::Function { .. }).then_some(id)
    }

    fn prototype_of(&self, id: TypeId) -> Option<Prototype<'_>> {
        let function = self.function_type(id)?;
        let CType::Function { ret } = self.ctype(function) else {
            return None;
        };
        Some(Prototype {
            id,
            params: self.params(function),
            ret,
        })
    }

    /// The kernel function `name`.
    pub fn function(&self, name: &str) -> Option<Prototype<'_>> {
        self.prototype_of(self.find_kind(&[Kind::Func], name)?)
    }

    /// The arguments that the raw tracepoint `name` passes. The typedef that the kernel checks has
    /// types only; the names are those of the function that calls the tracepoint's probes.
    pub fn raw_tracepoint(&self, name: &str) -> Option<Prototype<'_>> {
        let typedef = self.find_kind(&[Kind::Typedef], &format!("btf_trace_{name}"))?;
        let mut proto = self.prototype_of(typedef)?;
        let named = self
            .function(&format!("__traceiter_{name}"))
            .or_else(|| self.function(&format!("__bpf_trace_{name}")))
            .filter(|f| f.params.len() == proto.params.len());
        if let Some(f) = named {
            for (p, with_name) in proto.params.iter_mut().zip(f.params) {
                p.name = with_name.name;
            }
        }
        // The first one is the data pointer of the registration, which programs do not see.
        if !proto.params.is_empty() {
            proto.params.remove(0);
        }
        Some(proto)
    }

    /// Names of all raw tracepoints of this blob, sorted.
    pub fn raw_tracepoints(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .of_kind(Kind::Typedef)
            .filter_map(|(_, name)| name.strip_prefix("btf_trace_"))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The iterator over `object`: its function, and the struct that is a program's context.
    pub fn iterator(&self, object: &str) -> Option<(TypeId, TypeId)> {
        let function = self.find_kind(&[Kind::Func], &format!("bpf_iter_{object}"))?;
        let context = self.find_kind(&[Kind::Struct], &format!("bpf_iter__{object}"))?;
        Some((function, context))
    }

    /// Names of all iterators of this blob, sorted.
    pub fn iterators(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .of_kind(Kind::Struct)
            .filter_map(|(_, name)| name.strip_prefix("bpf_iter__"))
            .filter(|object| self.iterator(object).is_some())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The enumeration constant `name`.
    pub fn constant(&self, name: &str) -> Option<Constant> {
        let enumeration = self.find_enum_of(name)?;
        let value = self
            .variants(enumeration)
            .iter()
            .find(|v| v.name == name)?
            .value;
        Some(Constant { enumeration, value })
    }
}
