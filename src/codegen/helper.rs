//! The kernel's BPF helper functions that rtrace may call: number, name, first kernel.
//!
//! One row per helper. Numbers come from `aya_obj::generated`; the versions are those of the
//! releases that first carried the helper for tracing programs. Whether a given program type
//! may call one is for the caller to know.

use std::fmt;

use aya_obj::generated::bpf_func_id as id;

/// A helper's number, the `imm` of a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HelperId(u32);

impl HelperId {
    /// The helper with the number `id`, known to [`HELPERS`] or not.
    pub const fn new(id: u32) -> HelperId {
        HelperId(id)
    }

    /// The number.
    pub const fn id(self) -> u32 {
        self.0
    }

    /// The helper's row, where rtrace knows it.
    pub fn row(self) -> Option<&'static Helper> {
        let at = HELPERS.binary_search_by_key(&self, |h| h.id).ok()?;
        HELPERS.get(at)
    }

    /// The helper called `name`, with or without its `bpf_` prefix.
    pub fn by_name(name: &str) -> Option<HelperId> {
        let bare = name.strip_prefix("bpf_").unwrap_or(name);
        HELPERS
            .iter()
            .find(|h| h.name.strip_prefix("bpf_") == Some(bare))
            .map(|h| h.id)
    }
}

impl fmt::Display for HelperId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row() {
            Some(h) => write!(f, "{}#{}", h.name, self.0),
            None => write!(f, "unknown#{}", self.0),
        }
    }
}

impl fmt::Debug for HelperId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is known of a helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Helper {
    /// Its number.
    pub id: HelperId,
    /// Its C name, `bpf_...`.
    pub name: &'static str,
    /// The first kernel that has it: major, minor.
    pub min_kernel: (u16, u16),
}

macro_rules! helpers {
    ($($constant:ident = $variant:ident, $name:literal, $major:literal, $minor:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`, since Linux ", $major, ".", $minor, ".")]
            pub const $constant: HelperId = HelperId(id::$variant as u32);
        )*

        /// Every helper rtrace may use, by ascending number.
        pub const HELPERS: &[Helper] = &[
            $(Helper { id: $constant, name: $name, min_kernel: ($major, $minor) },)*
        ];
    };
}

helpers! {
    MAP_LOOKUP_ELEM = BPF_FUNC_map_lookup_elem, "bpf_map_lookup_elem", 3, 19;
    MAP_UPDATE_ELEM = BPF_FUNC_map_update_elem, "bpf_map_update_elem", 3, 19;
    MAP_DELETE_ELEM = BPF_FUNC_map_delete_elem, "bpf_map_delete_elem", 3, 19;
    PROBE_READ = BPF_FUNC_probe_read, "bpf_probe_read", 4, 1;
    KTIME_GET_NS = BPF_FUNC_ktime_get_ns, "bpf_ktime_get_ns", 4, 1;
    TRACE_PRINTK = BPF_FUNC_trace_printk, "bpf_trace_printk", 4, 1;
    GET_PRANDOM_U32 = BPF_FUNC_get_prandom_u32, "bpf_get_prandom_u32", 4, 1;
    GET_SMP_PROCESSOR_ID = BPF_FUNC_get_smp_processor_id, "bpf_get_smp_processor_id", 4, 1;
    GET_CURRENT_PID_TGID = BPF_FUNC_get_current_pid_tgid, "bpf_get_current_pid_tgid", 4, 2;
    GET_CURRENT_UID_GID = BPF_FUNC_get_current_uid_gid, "bpf_get_current_uid_gid", 4, 2;
    GET_CURRENT_COMM = BPF_FUNC_get_current_comm, "bpf_get_current_comm", 4, 2;
    PERF_EVENT_READ = BPF_FUNC_perf_event_read, "bpf_perf_event_read", 4, 3;
    PERF_EVENT_OUTPUT = BPF_FUNC_perf_event_output, "bpf_perf_event_output", 4, 4;
    GET_STACKID = BPF_FUNC_get_stackid, "bpf_get_stackid", 4, 6;
    GET_CURRENT_TASK = BPF_FUNC_get_current_task, "bpf_get_current_task", 4, 8;
    PROBE_WRITE_USER = BPF_FUNC_probe_write_user, "bpf_probe_write_user", 4, 8;
    CURRENT_TASK_UNDER_CGROUP = BPF_FUNC_current_task_under_cgroup, "bpf_current_task_under_cgroup", 4, 9;
    GET_NUMA_NODE_ID = BPF_FUNC_get_numa_node_id, "bpf_get_numa_node_id", 4, 10;
    PROBE_READ_STR = BPF_FUNC_probe_read_str, "bpf_probe_read_str", 4, 11;
    GET_SOCKET_COOKIE = BPF_FUNC_get_socket_cookie, "bpf_get_socket_cookie", 4, 12;
    PERF_EVENT_READ_VALUE = BPF_FUNC_perf_event_read_value, "bpf_perf_event_read_value", 4, 15;
    PERF_PROG_READ_VALUE = BPF_FUNC_perf_prog_read_value, "bpf_perf_prog_read_value", 4, 15;
    OVERRIDE_RETURN = BPF_FUNC_override_return, "bpf_override_return", 4, 16;
    GET_STACK = BPF_FUNC_get_stack, "bpf_get_stack", 4, 18;
    GET_CURRENT_CGROUP_ID = BPF_FUNC_get_current_cgroup_id, "bpf_get_current_cgroup_id", 4, 18;
    SPIN_LOCK = BPF_FUNC_spin_lock, "bpf_spin_lock", 5, 1;
    SPIN_UNLOCK = BPF_FUNC_spin_unlock, "bpf_spin_unlock", 5, 1;
    STRTOL = BPF_FUNC_strtol, "bpf_strtol", 5, 2;
    STRTOUL = BPF_FUNC_strtoul, "bpf_strtoul", 5, 2;
    SEND_SIGNAL = BPF_FUNC_send_signal, "bpf_send_signal", 5, 3;
    SKB_OUTPUT = BPF_FUNC_skb_output, "bpf_skb_output", 5, 5;
    PROBE_READ_USER = BPF_FUNC_probe_read_user, "bpf_probe_read_user", 5, 5;
    PROBE_READ_KERNEL = BPF_FUNC_probe_read_kernel, "bpf_probe_read_kernel", 5, 5;
    PROBE_READ_USER_STR = BPF_FUNC_probe_read_user_str, "bpf_probe_read_user_str", 5, 5;
    PROBE_READ_KERNEL_STR = BPF_FUNC_probe_read_kernel_str, "bpf_probe_read_kernel_str", 5, 5;
    SEND_SIGNAL_THREAD = BPF_FUNC_send_signal_thread, "bpf_send_signal_thread", 5, 6;
    JIFFIES64 = BPF_FUNC_jiffies64, "bpf_jiffies64", 5, 6;
    READ_BRANCH_RECORDS = BPF_FUNC_read_branch_records, "bpf_read_branch_records", 5, 7;
    GET_NS_CURRENT_PID_TGID = BPF_FUNC_get_ns_current_pid_tgid, "bpf_get_ns_current_pid_tgid", 5, 7;
    GET_NETNS_COOKIE = BPF_FUNC_get_netns_cookie, "bpf_get_netns_cookie", 5, 7;
    GET_CURRENT_ANCESTOR_CGROUP_ID = BPF_FUNC_get_current_ancestor_cgroup_id, "bpf_get_current_ancestor_cgroup_id", 5, 7;
    KTIME_GET_BOOT_NS = BPF_FUNC_ktime_get_boot_ns, "bpf_ktime_get_boot_ns", 5, 8;
    SEQ_PRINTF = BPF_FUNC_seq_printf, "bpf_seq_printf", 5, 8;
    SEQ_WRITE = BPF_FUNC_seq_write, "bpf_seq_write", 5, 8;
    RINGBUF_OUTPUT = BPF_FUNC_ringbuf_output, "bpf_ringbuf_output", 5, 8;
    RINGBUF_RESERVE = BPF_FUNC_ringbuf_reserve, "bpf_ringbuf_reserve", 5, 8;
    RINGBUF_SUBMIT = BPF_FUNC_ringbuf_submit, "bpf_ringbuf_submit", 5, 8;
    RINGBUF_DISCARD = BPF_FUNC_ringbuf_discard, "bpf_ringbuf_discard", 5, 8;
    RINGBUF_QUERY = BPF_FUNC_ringbuf_query, "bpf_ringbuf_query", 5, 8;
    GET_TASK_STACK = BPF_FUNC_get_task_stack, "bpf_get_task_stack", 5, 9;
    D_PATH = BPF_FUNC_d_path, "bpf_d_path", 5, 10;
    COPY_FROM_USER = BPF_FUNC_copy_from_user, "bpf_copy_from_user", 5, 10;
    SNPRINTF_BTF = BPF_FUNC_snprintf_btf, "bpf_snprintf_btf", 5, 10;
    PER_CPU_PTR = BPF_FUNC_per_cpu_ptr, "bpf_per_cpu_ptr", 5, 10;
    THIS_CPU_PTR = BPF_FUNC_this_cpu_ptr, "bpf_this_cpu_ptr", 5, 10;
    TASK_STORAGE_GET = BPF_FUNC_task_storage_get, "bpf_task_storage_get", 5, 11;
    TASK_STORAGE_DELETE = BPF_FUNC_task_storage_delete, "bpf_task_storage_delete", 5, 11;
    GET_CURRENT_TASK_BTF = BPF_FUNC_get_current_task_btf, "bpf_get_current_task_btf", 5, 11;
    KTIME_GET_COARSE_NS = BPF_FUNC_ktime_get_coarse_ns, "bpf_ktime_get_coarse_ns", 5, 11;
    FOR_EACH_MAP_ELEM = BPF_FUNC_for_each_map_elem, "bpf_for_each_map_elem", 5, 13;
    SNPRINTF = BPF_FUNC_snprintf, "bpf_snprintf", 5, 13;
    TIMER_INIT = BPF_FUNC_timer_init, "bpf_timer_init", 5, 15;
    TIMER_SET_CALLBACK = BPF_FUNC_timer_set_callback, "bpf_timer_set_callback", 5, 15;
    TIMER_START = BPF_FUNC_timer_start, "bpf_timer_start", 5, 15;
    TIMER_CANCEL = BPF_FUNC_timer_cancel, "bpf_timer_cancel", 5, 15;
    GET_FUNC_IP = BPF_FUNC_get_func_ip, "bpf_get_func_ip", 5, 15;
    GET_ATTACH_COOKIE = BPF_FUNC_get_attach_cookie, "bpf_get_attach_cookie", 5, 15;
    TASK_PT_REGS = BPF_FUNC_task_pt_regs, "bpf_task_pt_regs", 5, 15;
    GET_BRANCH_SNAPSHOT = BPF_FUNC_get_branch_snapshot, "bpf_get_branch_snapshot", 5, 16;
    TRACE_VPRINTK = BPF_FUNC_trace_vprintk, "bpf_trace_vprintk", 5, 16;
    FIND_VMA = BPF_FUNC_find_vma, "bpf_find_vma", 5, 17;
    LOOP = BPF_FUNC_loop, "bpf_loop", 5, 17;
    STRNCMP = BPF_FUNC_strncmp, "bpf_strncmp", 5, 17;
    GET_FUNC_ARG = BPF_FUNC_get_func_arg, "bpf_get_func_arg", 5, 17;
    GET_FUNC_RET = BPF_FUNC_get_func_ret, "bpf_get_func_ret", 5, 17;
    GET_FUNC_ARG_CNT = BPF_FUNC_get_func_arg_cnt, "bpf_get_func_arg_cnt", 5, 17;
    COPY_FROM_USER_TASK = BPF_FUNC_copy_from_user_task, "bpf_copy_from_user_task", 5, 18;
    MAP_LOOKUP_PERCPU_ELEM = BPF_FUNC_map_lookup_percpu_elem, "bpf_map_lookup_percpu_elem", 5, 19;
    DYNPTR_FROM_MEM = BPF_FUNC_dynptr_from_mem, "bpf_dynptr_from_mem", 5, 19;
    RINGBUF_RESERVE_DYNPTR = BPF_FUNC_ringbuf_reserve_dynptr, "bpf_ringbuf_reserve_dynptr", 5, 19;
    RINGBUF_SUBMIT_DYNPTR = BPF_FUNC_ringbuf_submit_dynptr, "bpf_ringbuf_submit_dynptr", 5, 19;
    RINGBUF_DISCARD_DYNPTR = BPF_FUNC_ringbuf_discard_dynptr, "bpf_ringbuf_discard_dynptr", 5, 19;
    DYNPTR_READ = BPF_FUNC_dynptr_read, "bpf_dynptr_read", 5, 19;
    DYNPTR_WRITE = BPF_FUNC_dynptr_write, "bpf_dynptr_write", 5, 19;
    DYNPTR_DATA = BPF_FUNC_dynptr_data, "bpf_dynptr_data", 5, 19;
    KTIME_GET_TAI_NS = BPF_FUNC_ktime_get_tai_ns, "bpf_ktime_get_tai_ns", 6, 1;
    CGRP_STORAGE_GET = BPF_FUNC_cgrp_storage_get, "bpf_cgrp_storage_get", 6, 2;
    CGRP_STORAGE_DELETE = BPF_FUNC_cgrp_storage_delete, "bpf_cgrp_storage_delete", 6, 2;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_found() {
        assert!(HELPERS.is_sorted_by(|a, b| a.id < b.id));
        for h in HELPERS {
            assert_eq!(h.id.row(), Some(h));
            assert_eq!(HelperId::by_name(h.name), Some(h.id));
        }
    }

    #[test]
    fn names_carry_the_number() {
        assert_eq!(RINGBUF_RESERVE.to_string(), "bpf_ringbuf_reserve#131");
        assert_eq!(HelperId::new(9999).to_string(), "unknown#9999");
        assert_eq!(HelperId::by_name("loop"), Some(LOOP));
        assert_eq!(LOOP.row().map(|h| h.min_kernel), Some((5, 17)));
    }
}
