//! `gesso:plugin/assets`: files that the plugin's own file carries. They were bounded and unpacked when it was loaded, so
//! that nothing is left to decide here.

use super::CallState;
use super::gesso::plugin::types::Fault;
use super::picture_hook::gesso::plugin0_2_0::assets::Host;

impl Host for CallState {
    fn list(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.capabilities.assets.names().map(str::to_owned).collect())
    }

    fn read(&mut self, name: String) -> wasmtime::Result<Result<Vec<u8>, Fault>> {
        Ok(match self.capabilities.assets.get(&name) {
            Some(bytes) => Ok(bytes.to_vec()),
            None => {
                let name = crate::log::tidy(&name, 200);
                Err(Fault::InvalidInput(format!("the plugin carries no file named `{name}`")))
            }
        })
    }
}
