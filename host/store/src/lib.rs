//! gesso-store: what outlives the process. Tasks (sled), objects (object_store) and user-named folders (cap-std).
//!
//! Called by the server's use cases only. It alone names those three libraries, and it knows nothing of HTTP,
//! components or pictures: a task's payload is text to it, an image is bytes under a typed key.
//!
//! - [`tasks`]: the trait and its words; [`MemoryTasks`] is the model, [`SledTasks`] the durable one.
//! - [`keys`]: every name an object may have; [`objects`]: putting and getting them; [`local_urls`]: signed URLs
//!   for objects in a local folder.
//! - [`documents`]: small JSON files, such as accounts and options; [`journal`]: lines that are only added to.
//! - [`outputs`]: writing pictures where people look for them.
//! - [`plugin_data`]: what plugins keep, small values in sled and larger ones as objects.
//! - [`volume`]: how much room is left.
//! - [`folders`]: reading files whose names come from a user or a plugin.

pub mod clock;
pub mod documents;
pub mod folders;
pub mod journal;
pub mod keys;
pub mod local_urls;
mod memory;
pub mod objects;
pub mod outputs;
pub mod plugin_data;
mod sled_tasks;
mod small_file;
pub mod tasks;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod volume;

pub use clock::{Clock, SystemClock};
pub use documents::Documents;
pub use folders::{Folder, FolderError};
pub use journal::Journal;
pub use keys::{ImageFormat, KeyError, ObjectKey, is_model_name};
pub use local_urls::{LocalSigner, UrlError};
pub use memory::MemoryTasks;
pub use objects::{ObjectInfo, ObjectSettings, Objects, ObjectsError};
pub use outputs::{Outputs, Series};
pub use plugin_data::{PluginData, PluginDataError, PluginUse};
pub use sled_tasks::{SledSettings, SledTasks};
pub use tasks::{
    EndedFilter, EndedPage, Lease, MoveTo, NewTask, Notice, Outcome, Payload, QueuePart, Release, Task,
    TaskChange, TaskError, TaskFilter, TaskPage, TaskProblem, TaskState, TaskStats, TaskStore,
    TaskStoreError, Terms,
};
