//! Lays the pictures of a grid in one row.

use gesso_plugin::{Fault, Grid, GridHook, Params};

struct Plugin;

impl GridHook for Plugin {
    fn on_grid(_params: &Params, grid: Grid) -> Result<Grid, Fault> {
        let columns = grid.pictures.len() as u32;
        Ok(Grid { columns, rows: 1, ..grid })
    }
}

gesso_plugin::grid_hook!(Plugin, manifest = "manifest.json");

#[cfg(test)]
mod tests {
    use gesso_plugin::{PixelFormat, fake};

    use super::*;

    #[test]
    fn three_pictures_stand_in_one_row() -> Result<(), Fault> {
        let picture = |level| fake::picture(1, 1, PixelFormat::Gray8, &[level]);
        let given = fake::grid(vec![picture(1), picture(2), picture(3)], 2);
        assert_eq!(given.rows, 2);
        let grid = Plugin::on_grid(&Params::from_json("{}")?, given)?;
        assert_eq!((grid.columns, grid.rows), (3, 1));
        assert_eq!(grid.pictures[2].read_rows(0, 1)?, [3]);
        Ok(())
    }
}
