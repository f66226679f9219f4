//! What the machine says of its memory.

/// In bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    /// What could be had without pushing anything out.
    pub(crate) free: u64,
}

/// `None` where the system does not say. Reads a file: call it where blocking is allowed.
pub(crate) fn memory() -> Option<Memory> {
    of_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn of_meminfo(text: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let total = bytes("MemTotal")?;
    Some(Memory { total, free: bytes("MemAvailable")?.min(total) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_total_and_available_in_kib() {
        let text = "MemTotal:       2048 kB\nMemFree:  1 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(of_meminfo(text), Some(Memory { total: 2 << 20, free: 1 << 20 }));
        assert_eq!(of_meminfo("MemTotal: 1 kB"), None);
    }
}
