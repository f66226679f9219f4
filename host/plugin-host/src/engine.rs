//! The one engine configuration, shared by the server and the compile worker, and the epoch clock. Knows nothing of
//! plugins. Settings follow what wasmtime documents for untrusted code; each feature left off is a class of
//! advisories that does not apply.

use std::num::NonZeroUsize;
use std::time::Duration;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// Time between epochs: how often guest code is interrupted for a look at its budget.
pub(crate) const EPOCH: Duration = Duration::from_millis(10);

/// What both processes must agree on; wasmtime refuses artifacts compiled under anything else.
fn config() -> Config {
    let mut config = Config::new();
    config
        .strategy(wasmtime::Strategy::Cranelift)
        .epoch_interruption(true)
        .consume_fuel(false)
        // Plain synchronous worlds need none of the asynchronous ABI. Threads, GC types, exceptions and function
        // references are not even compiled in.
        .concurrency_support(false)
        .gc_support(false)
        .wasm_gc(false)
        .wasm_memory64(false)
        // A component made of components, as some tools make them, has adapters between two memories.
        .wasm_multi_memory(true)
        .shared_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_wide_arithmetic(false)
        .wasm_simd(true)
        .signals_based_traps(true)
        .memory_init_cow(true)
        .guard_before_linear_memory(true)
        .max_wasm_stack(512 << 10)
        .async_stack_size(2 << 20)
        .async_stack_zeroing(true)
        .wasm_backtrace_max_frames(NonZeroUsize::new(20))
        .generate_address_map(true)
        .debug_info(false);
    config
}

/// The engine of the compile worker: same code, no pools, may use every core it is given.
pub(crate) fn for_compiling() -> wasmtime::Result<Engine> {
    let mut config = config();
    config.parallel_compilation(true);
    Engine::new(&config)
}

/// An engine to judge a component with: its code is thrown away unrun, so it is not optimised. Registers are given out as
/// ever: the quicker way is one that wasmtime advises against and does not fuzz.
pub(crate) fn for_judging() -> wasmtime::Result<Engine> {
    let mut config = config();
    config.parallel_compilation(true).cranelift_opt_level(OptLevel::None);
    Engine::new(&config)
}

/// The engine that runs guests. Pools need address space (4 GiB for each memory slot); where that is not to be had,
/// instances are made on demand, which is slower and just as safe.
pub(crate) fn for_running(slots: usize, memory_bytes: u64) -> wasmtime::Result<Engine> {
    match pooled(slots, memory_bytes) {
        Ok(engine) => {
            tracing::info!(slots, "plugin instances come from a pool");
            Ok(engine)
        }
        Err(error) => {
            tracing::warn!(%error, "no address space for a pool; plugin instances are made on demand");
            let mut config = config();
            config.parallel_compilation(false);
            Engine::new(&config)
        }
    }
}

/// What one component may consist of.
const CORE_INSTANCES: u32 = 200;
const MEMORIES: u32 = 8;
const TABLES: u32 = 64;

fn pooled(slots: usize, memory_bytes: u64) -> wasmtime::Result<Engine> {
    // Half as many scripts and half as many picture hooks beside the calls, and half as many again because a finished call
    // gives its slot back only after its teardown. Step hooks come one after the other, and a few may be on their way out.
    let slots = u32::try_from(slots.saturating_mul(5).div_ceil(2) + 4).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        // Every slot may hold the largest component there is, so that no plugin can use up what others need. This
        // takes address space, not memory.
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES))
        .total_memories(slots.saturating_mul(MEMORIES))
        .total_tables(slots.saturating_mul(TABLES))
        .total_stacks(slots)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_tables_per_module(8)
        .table_elements(100_000)
        .max_memory_size(usize::try_from(memory_bytes).unwrap_or(usize::MAX).next_multiple_of(64 << 10))
        .linear_memory_keep_resident(1 << 20)
        .decommit_batch_size(8)
        .max_unused_warm_slots(8);
    let mut config = config();
    config.parallel_compilation(false).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// Ticks until the engine is gone. An OS thread of its own: a task on a runtime that guests share could be starved
/// by the very guest it is there to interrupt.
pub(crate) fn start_epochs(engine: &Engine) -> std::io::Result<()> {
    let weak = engine.weak();
    std::thread::Builder::new().name("plugin-epochs".to_owned()).spawn(move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(EPOCH);
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_for_sixteen_calls_fits_the_address_space() {
        assert!(pooled(16, 64 << 20).is_ok());
    }

    #[test]
    fn the_worker_compiles_for_the_engine_that_runs() {
        let artifact =
            for_compiling().unwrap().precompile_component(&wat::parse_str("(component)").unwrap()).unwrap();
        let running = for_running(4, 1 << 20).unwrap();
        let artifact = crate::deserialize::TrustedArtifact::vouch(artifact);
        assert!(crate::deserialize::component(&running, &artifact).is_ok());
    }
}
