//! What an admin lets the calls of one plugin spend, where that is not what the server lets every plugin's: the budgets of a
//! grant, the tier that it names, and what comes of both. Asked when grants are given and at load; counts nothing itself.

use crate::settings::{Budget, Budgets, Grants};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Figures that no grant may exceed, whatever the admin thinks of the plugin. An hour of processor time and a day from start to
/// end are more than any drawing takes.
const CPU_MS_MAX: u64 = 3_600_000;
const WALL_MS_MAX: u64 = 86_400_000;
/// Of a step hook, which everything on the device waits for.
const STEP_MS_MAX: u64 = 10_000;
/// The pool of instances has room for as much, so that a grant needs no restart.
pub(crate) const MEMORY_MIB_MAX: u64 = 2048;
const JOBS_MAX: u64 = 10_000;
const MEGAPIXEL_STEPS_MAX: u64 = 10_000_000;

/// What a call of one kind may spend; what is `None` is as the server's settings have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallBudget {
    /// Processor time, milliseconds.
    pub cpu_ms: Option<u64>,
    /// From admission to result, milliseconds.
    pub wall_ms: Option<u64>,
    /// Sum over all linear memories, MiB.
    pub memory_mib: Option<u64>,
}

/// What the calls of one plugin may spend, by what they are for; what is `None` is as the server's settings have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginBudgets {
    /// Of hooks, HTTP APIs and the trial at load, which takes no longer than the server's budget of hooks says.
    pub hook: CallBudget,
    /// Of a script or a picture hook.
    pub script: CallBudget,
    pub annotator: CallBudget,
    pub fetcher: CallBudget,
    /// Of a step hook.
    pub step: CallBudget,
    /// Drawings and enlargements that it may ask for in one request.
    pub script_jobs_max: Option<u32>,
    /// Megapixels times steps over all of them.
    pub script_megapixel_steps_max: Option<u32>,
}

/// What one plugin may have drawn for one request. A figure that is `None` is counted together with the other plugins of the
/// request; one that is there is the plugin's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DrawingBudget {
    pub jobs_max: Option<u32>,
    pub megapixel_steps_max: Option<u32>,
}

impl CallBudget {
    /// `self` where it says something, else `other`.
    fn or(&self, other: &Self) -> Self {
        Self {
            cpu_ms: self.cpu_ms.or(other.cpu_ms),
            wall_ms: self.wall_ms.or(other.wall_ms),
            memory_mib: self.memory_mib.or(other.memory_mib),
        }
    }

    fn laid_over(&self, server: &Budget) -> Budget {
        Budget {
            cpu: self.cpu_ms.map_or(server.cpu, Duration::from_millis),
            wall: self.wall_ms.map_or(server.wall, Duration::from_millis),
            memory_bytes: self.memory_mib.map_or(server.memory_bytes, |mib| mib << 20),
            ..server.clone()
        }
    }

    fn of(budget: &Budget) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            cpu_ms: Some(millis(budget.cpu)),
            wall_ms: Some(millis(budget.wall)),
            memory_mib: Some(budget.memory_bytes >> 20),
        }
    }
}

impl PluginBudgets {
    /// Each figure that is said, with the name that an admin knows it by, and between what it must be.
    fn figures(&self) -> Vec<(String, u64, (u64, u64))> {
        let kinds = [
            ("hook", &self.hook, (CPU_MS_MAX, WALL_MS_MAX)),
            ("script", &self.script, (CPU_MS_MAX, WALL_MS_MAX)),
            ("annotator", &self.annotator, (CPU_MS_MAX, WALL_MS_MAX)),
            ("fetcher", &self.fetcher, (CPU_MS_MAX, WALL_MS_MAX)),
            ("step", &self.step, (STEP_MS_MAX, STEP_MS_MAX)),
        ];
        let mut figures = Vec::new();
        for (kind, call, (cpu_ms_max, wall_ms_max)) in kinds {
            let said = [
                ("cpu_ms", call.cpu_ms, cpu_ms_max),
                ("wall_ms", call.wall_ms, wall_ms_max),
                ("memory_mib", call.memory_mib, MEMORY_MIB_MAX),
            ];
            for (name, figure, most) in said {
                figures.extend(figure.map(|figure| (format!("{kind}.{name}"), figure, (1, most))));
            }
        }
        // None at all is a way to keep a plugin from drawing.
        let drawings = [
            ("script_jobs_max", self.script_jobs_max, JOBS_MAX),
            ("script_megapixel_steps_max", self.script_megapixel_steps_max, MEGAPIXEL_STEPS_MAX),
        ];
        for (name, figure, most) in drawings {
            figures.extend(figure.map(|figure| (name.to_owned(), u64::from(figure), (0, most))));
        }
        figures
    }

    /// Whether every figure is one that a plugin may be given.
    ///
    /// # Errors
    /// A sentence with the first that is not, and what it may be: `script.cpu_ms is 0; …`.
    pub fn check(&self) -> Result<(), String> {
        let figures = self.figures();
        let wrong = figures.iter().find(|(_, figure, (least, most))| !(*least..=*most).contains(figure));
        match wrong {
            None => Ok(()),
            Some((name, figure, (least, most))) => {
                Err(format!("{name} is {figure}; it must be between {least} and {most}"))
            }
        }
    }

    /// What is said, for the trail: `script.cpu_ms 120000`.
    pub(crate) fn told(&self) -> impl Iterator<Item = String> {
        self.figures().into_iter().map(|(name, figure, _)| format!("{name} {figure}"))
    }

    /// `self` where it says something, else `other`.
    fn or(&self, other: &Self) -> Self {
        Self {
            hook: self.hook.or(&other.hook),
            script: self.script.or(&other.script),
            annotator: self.annotator.or(&other.annotator),
            fetcher: self.fetcher.or(&other.fetcher),
            step: self.step.or(&other.step),
            script_jobs_max: self.script_jobs_max.or(other.script_jobs_max),
            script_megapixel_steps_max: self.script_megapixel_steps_max.or(other.script_megapixel_steps_max),
        }
    }

    /// What calls are held to.
    pub(crate) fn laid_over(&self, server: &Budgets) -> Budgets {
        Budgets {
            hook: self.hook.laid_over(&server.hook),
            script: self.script.laid_over(&server.script),
            annotator: self.annotator.laid_over(&server.annotator),
            fetcher: self.fetcher.laid_over(&server.fetcher),
            step: self.step.laid_over(&server.step),
        }
    }

    pub(crate) fn drawings(&self) -> DrawingBudget {
        DrawingBudget { jobs_max: self.script_jobs_max, megapixel_steps_max: self.script_megapixel_steps_max }
    }

    /// What calls are held to, in an admin's figures.
    pub(crate) fn of(budgets: &Budgets, drawings: DrawingBudget) -> Self {
        Self {
            hook: CallBudget::of(&budgets.hook),
            script: CallBudget::of(&budgets.script),
            annotator: CallBudget::of(&budgets.annotator),
            fetcher: CallBudget::of(&budgets.fetcher),
            step: CallBudget::of(&budgets.step),
            script_jobs_max: drawings.jobs_max,
            script_megapixel_steps_max: drawings.megapixel_steps_max,
        }
    }
}

/// The budgets of a grant: its own, and behind them those of the tier that it names.
///
/// # Errors
/// A sentence where there is no such tier, or a figure is none that a plugin may be given.
pub(crate) fn of_grants(
    grants: &Grants,
    tiers: &BTreeMap<String, PluginBudgets>,
) -> Result<PluginBudgets, String> {
    grants.budgets.check().map_err(|problem| format!("budgets.{problem}"))?;
    let Some(name) = &grants.tier else { return Ok(grants.budgets) };
    let tier = tiers.get(name).ok_or_else(|| {
        let known: Vec<_> = tiers.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        format!("tier is {name:?}; the settings' plugin_tiers have {known}")
    })?;
    Ok(grants.budgets.or(tier))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(cpu_ms: Option<u64>, memory_mib: Option<u64>) -> CallBudget {
        CallBudget { cpu_ms, memory_mib, ..CallBudget::default() }
    }

    #[test]
    fn a_grants_own_figures_win_over_its_tiers_and_both_over_the_servers() {
        let tier = PluginBudgets {
            hook: calls(Some(5_000), Some(128)),
            script_jobs_max: Some(7),
            ..PluginBudgets::default()
        };
        let own = PluginBudgets { hook: calls(Some(6_000), None), ..PluginBudgets::default() };
        let grants = Grants { budgets: own, tier: Some("trusted".into()), ..Grants::default() };
        let granted = of_grants(&grants, &[("trusted".to_owned(), tier)].into()).unwrap();
        let server = Budgets::default();
        let held_to = granted.laid_over(&server);
        assert_eq!(held_to.hook.cpu, Duration::from_secs(6));
        assert_eq!((held_to.hook.memory_bytes, held_to.hook.wall), (128 << 20, server.hook.wall));
        assert_eq!(held_to.script, server.script);
        assert_eq!(granted.drawings(), DrawingBudget { jobs_max: Some(7), megapixel_steps_max: None });
        let shown = PluginBudgets::of(&held_to, granted.drawings());
        assert_eq!((shown.hook.cpu_ms, shown.hook.memory_mib), (Some(6_000), Some(128)));
        assert_eq!((shown.script.memory_mib, shown.script_jobs_max), (Some(256), Some(7)));
    }

    #[test]
    fn a_tier_that_is_not_there_is_named_with_those_that_are() {
        let grants = Grants { tier: Some("trustd".into()), ..Grants::default() };
        let none = of_grants(&grants, &BTreeMap::new()).unwrap_err();
        assert_eq!(none, "tier is \"trustd\"; the settings' plugin_tiers have none");
        let tiers = ["small", "trusted"].map(|name| (name.to_owned(), PluginBudgets::default()));
        assert!(of_grants(&grants, &tiers.into()).unwrap_err().ends_with("have small, trusted"));
    }

    #[test]
    fn figures_that_no_plugin_may_be_given_are_refused_by_name() {
        let wrong = |budgets: PluginBudgets| budgets.check().unwrap_err();
        let script = calls(Some(0), None);
        assert_eq!(
            wrong(PluginBudgets { script, ..PluginBudgets::default() }),
            "script.cpu_ms is 0; it must be between 1 and 3600000"
        );
        let hook = calls(None, Some(MEMORY_MIB_MAX + 1));
        assert!(
            wrong(PluginBudgets { hook, ..PluginBudgets::default() }).starts_with("hook.memory_mib is 2049;")
        );
        // Which a hook may have: nothing on the device waits for it.
        let long = CallBudget { wall_ms: Some(STEP_MS_MAX + 1), ..CallBudget::default() };
        assert!(wrong(PluginBudgets { step: long, ..PluginBudgets::default() }).starts_with("step.wall_ms"));
        let fine = PluginBudgets { hook: long, script_jobs_max: Some(0), ..PluginBudgets::default() };
        assert_eq!(fine.check(), Ok(()));
        assert_eq!(fine.told().collect::<Vec<_>>(), ["hook.wall_ms 10001", "script_jobs_max 0"]);
    }
}
