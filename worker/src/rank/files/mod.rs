//! The files that ranks write where users and other ranks see them: whole or not there, and each folder for one job; and where those of a model are.

pub(crate) mod artifact_folder;
pub(crate) mod checkpoint_folder;
pub(crate) mod model_files;
pub(crate) mod whole_file;
