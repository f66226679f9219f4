//! How much memory this machine, or the container it runs in, has. Called once when the backend opens.

use std::fs;

/// Bytes; `None` where the system does not say.
pub(crate) fn total() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_meminfo(&text));
    // A container's own limit: of the second version of control groups, and of the first.
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    // Without a limit the file says "max", or a number above any machine's memory.
    let limits = limits.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    machine.into_iter().chain(limits).min()
}

/// `MemTotal`, which is in KiB.
fn of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_total_in_kib() {
        assert_eq!(of_meminfo("MemTotal:       24576000 kB\nMemFree:  1 kB\n"), Some(24_576_000 << 10));
        assert_eq!(of_meminfo("MemFree:  1 kB\n"), None);
    }

    #[test]
    fn this_machine_has_some() {
        assert!(total().is_some_and(|bytes| bytes > 64 << 20));
    }
}
