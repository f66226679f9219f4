//! What wit-bindgen makes of `wit/`. Only this crate's wrappers and the register macros look inside: an author
//! never meets these types, so that a new generator or contract version does not break a plugin's source.

pub mod request_hook {
    wit_bindgen::generate!({
        path: "../wit/gesso-plugin-0.1.0",
        world: "request-hook",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_request_hook",
    });
}

pub mod http_extension {
    wit_bindgen::generate!({
        path: "../wit/gesso-plugin-0.1.0",
        world: "http-extension",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_http_extension",
        // One `call` for both worlds, so that the SDK has one wrapper for it.
        with: {
            "gesso:plugin/call@0.1.0": crate::bindings::request_hook::gesso::plugin::call,
            "gesso:plugin/types@0.1.0": crate::bindings::request_hook::gesso::plugin::types,
        },
    });
}

pub mod annotator {
    wit_bindgen::generate!({
        path: ["../wit/gesso-plugin-0.1.0", "../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/annotator@0.2.0",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_annotator",
        with: {
            "gesso:plugin/call@0.1.0": crate::bindings::request_hook::gesso::plugin::call,
            "gesso:plugin/images@0.1.0": crate::bindings::request_hook::gesso::plugin::images,
            "gesso:plugin/types@0.1.0": crate::bindings::request_hook::gesso::plugin::types,
            "gesso:plugin/models@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::models,
            "gesso:plugin/kv@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::kv,
            "gesso:plugin/blobs@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::blobs,
            "gesso:plugin/assets@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::assets,
        },
    });
}

/// Has the interfaces of 0.2.0 that several worlds have; those use its functions.
#[allow(clippy::too_many_arguments, reason = "the generator spreads lists into pointers and lengths")]
pub mod picture_hook {
    wit_bindgen::generate!({
        path: ["../wit/gesso-plugin-0.1.0", "../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/picture-hook@0.2.0",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_picture_hook",
        with: {
            "gesso:plugin/call@0.1.0": crate::bindings::request_hook::gesso::plugin::call,
            "gesso:plugin/images@0.1.0": crate::bindings::request_hook::gesso::plugin::images,
            "gesso:plugin/types@0.1.0": crate::bindings::request_hook::gesso::plugin::types,
        },
    });
}

#[allow(clippy::too_many_arguments, reason = "the generator spreads lists into pointers and lengths")]
pub mod script {
    wit_bindgen::generate!({
        path: ["../wit/gesso-plugin-0.1.0", "../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/script@0.2.0",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_script",
        with: {
            "gesso:plugin/inference@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::inference,
            "gesso:plugin/models@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::models,
            "gesso:plugin/call@0.1.0": crate::bindings::request_hook::gesso::plugin::call,
            "gesso:plugin/images@0.1.0": crate::bindings::request_hook::gesso::plugin::images,
            "gesso:plugin/types@0.1.0": crate::bindings::request_hook::gesso::plugin::types,
            "gesso:plugin/kv@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::kv,
            "gesso:plugin/blobs@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::blobs,
            "gesso:plugin/assets@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::assets,
        },
    });
}

#[allow(clippy::too_many_arguments, reason = "the generator spreads lists into pointers and lengths")]
pub mod step_hook {
    wit_bindgen::generate!({
        path: ["../wit/gesso-plugin-0.1.0", "../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/step-hook@0.2.0",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_step_hook",
        with: {
            "gesso:plugin/assets@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::assets,
            "gesso:plugin/call@0.1.0": crate::bindings::request_hook::gesso::plugin::call,
            "gesso:plugin/types@0.1.0": crate::bindings::request_hook::gesso::plugin::types,
        },
    });
}

pub mod input_fetcher {
    wit_bindgen::generate!({
        path: ["../wit/gesso-plugin-0.1.0", "../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/input-fetcher@0.2.0",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_input_fetcher",
        with: {
            "gesso:plugin/call@0.1.0": crate::bindings::request_hook::gesso::plugin::call,
            "gesso:plugin/types@0.1.0": crate::bindings::request_hook::gesso::plugin::types,
            "gesso:plugin/kv@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::kv,
            "gesso:plugin/blobs@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::blobs,
            "gesso:plugin/assets@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::assets,
        },
    });
}

#[allow(clippy::too_many_arguments, reason = "the generator spreads lists into pointers and lengths")]
pub mod infotext_hook {
    wit_bindgen::generate!({
        path: ["../wit/gesso-plugin-0.1.0", "../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/infotext-hook@0.2.0",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_infotext_hook",
        with: {
            "gesso:plugin/call@0.1.0": crate::bindings::request_hook::gesso::plugin::call,
            "gesso:plugin/types@0.1.0": crate::bindings::request_hook::gesso::plugin::types,
            "gesso:plugin/kv@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::kv,
            "gesso:plugin/blobs@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::blobs,
            "gesso:plugin/assets@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::assets,
        },
    });
}

#[allow(clippy::too_many_arguments, reason = "the generator spreads lists into pointers and lengths")]
pub mod save_hook {
    wit_bindgen::generate!({
        path: ["../wit/gesso-plugin-0.1.0", "../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/save-hook@0.2.0",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_save_hook",
        with: {
            "gesso:plugin/call@0.1.0": crate::bindings::request_hook::gesso::plugin::call,
            "gesso:plugin/types@0.1.0": crate::bindings::request_hook::gesso::plugin::types,
            "gesso:plugin/kv@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::kv,
            "gesso:plugin/blobs@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::blobs,
            "gesso:plugin/assets@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::assets,
        },
    });
}

pub mod model_hook {
    wit_bindgen::generate!({
        path: ["../wit/gesso-plugin-0.1.0", "../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/model-hook@0.2.0",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_model_hook",
        with: {
            "gesso:plugin/call@0.1.0": crate::bindings::request_hook::gesso::plugin::call,
            "gesso:plugin/types@0.1.0": crate::bindings::request_hook::gesso::plugin::types,
            "gesso:plugin/kv@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::kv,
            "gesso:plugin/blobs@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::blobs,
            "gesso:plugin/assets@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::assets,
        },
    });
}

#[allow(clippy::too_many_arguments, reason = "the generator spreads lists into pointers and lengths")]
pub mod grid_hook {
    wit_bindgen::generate!({
        path: ["../wit/gesso-plugin-0.1.0", "../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/grid-hook@0.2.0",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_grid_hook",
        with: {
            "gesso:plugin/call@0.1.0": crate::bindings::request_hook::gesso::plugin::call,
            "gesso:plugin/images@0.1.0": crate::bindings::request_hook::gesso::plugin::images,
            "gesso:plugin/types@0.1.0": crate::bindings::request_hook::gesso::plugin::types,
            "gesso:plugin/kv@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::kv,
            "gesso:plugin/blobs@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::blobs,
            "gesso:plugin/assets@0.2.0": crate::bindings::picture_hook::gesso::plugin0_2_0::assets,
        },
    });
}

/// For plugins of any world.
#[cfg(target_family = "wasm")]
#[allow(unreachable_pub, reason = "the generator does not know who may see its module")]
pub mod outgoing {
    wit_bindgen::generate!({
        path: "../wit/gesso-plugin-0.1.0",
        inline: "package sdk:outgoing; world outgoing { import wasi:http/outgoing-handler@0.2.12; }",
        world: "sdk:outgoing/outgoing",
        generate_all,
    });
}
