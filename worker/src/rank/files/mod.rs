//! The files that ranks write where users and other ranks see them: whole or not there, and each folder for one job.

pub(crate) mod artifact_folder;
pub(crate) mod checkpoint_folder;
pub(crate) mod whole_file;
