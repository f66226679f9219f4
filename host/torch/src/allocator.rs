//! The memory of every program that draws, libtorch's included, comes from jemalloc.
//!
//! A UNet call allocates and frees tensors of tens of megabytes by the hundred. The C library gives blocks of that size
//! back to the kernel at once, so each is faulted in anew, page by page: on the machine of `docs/performance.md` a
//! normalisation over a VAE's largest feature map took seven times as long as its arithmetic. jemalloc keeps what was
//! freed for a while and hands it out again. Its names replace the C library's (`unprefixed_malloc`), so libtorch finds
//! them too.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Freed pages stay for a minute, several times the longest step worth waiting for, and then go back to the kernel by a
/// thread of their own, so that a server that rests holds no more than its models. Large blocks are no exception.
#[expect(
    unsafe_code,
    reason = "jemalloc reads its settings from a symbol of this name, which nothing else has"
)]
#[unsafe(export_name = "malloc_conf")]
#[used]
static SETTINGS: &[u8; 82] =
    b"dirty_decay_ms:60000,muzzy_decay_ms:0,oversize_threshold:0,background_thread:true\0";
