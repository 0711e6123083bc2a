//! Types of messages: from a descriptor set, from `.proto` files, or from what a registry has.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{DescriptorPool, FileDescriptor, MessageDescriptor};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use crate::format::registry::Fetched;

/// What a payload may be.
#[derive(Clone, Debug)]
pub enum ProtobufSchema {
    /// A message of this type.
    Message(MessageDescriptor),
    /// A message of one of the types of this file; which one, the payload says.
    File(FileDescriptor),
}

impl ProtobufSchema {
    /// The type `message` out of a file: a `.proto`, whose imports lie beside it, or else a descriptor set, as `protoc
    /// --include_imports --descriptor_set_out` writes it.
    ///
    /// # Errors
    /// What is wrong with the file, or which types it has.
    pub fn read(path: &Path, message: &str) -> Result<Self, String> {
        let wrong = |reason: &dyn std::fmt::Display| format!("{} {reason}", path.display());
        let pool = if path.extension().is_some_and(|extension| extension == "proto") {
            let folder = path.parent().unwrap_or(Path::new("."));
            let mut compiler = protox::Compiler::new([folder]).map_err(|error| wrong(&error))?;
            compiler.open_file(path).map_err(|error| wrong(&format_args!("cannot be compiled: {error}")))?;
            compiler.descriptor_pool()
        } else {
            let bytes = std::fs::read(path).map_err(|error| wrong(&format_args!("cannot be read: {error}")))?;
            DescriptorPool::decode(&*bytes).map_err(|error| wrong(&format_args!("is no descriptor set: {error}")))?
        };
        pool.get_message_by_name(message).map(Self::Message).ok_or_else(|| {
            let has = pool.all_messages().map(|message| message.full_name().to_owned());
            let has: Vec<_> = has.filter(|name| !name.starts_with("google.protobuf.")).take(20).collect();
            wrong(&format_args!("has no message {message:?}; it has {}", has.join(", ")))
        })
    }
}

/// The name of the schema itself among its files.
const MAIN: &str = "schema.proto";

/// Of what a registry has: text, or a descriptor in base64.
pub(in crate::format) fn compile(fetched: &Fetched) -> Result<ProtobufSchema, String> {
    if fetched.kind != "PROTOBUF" {
        return Err(format!("is of the type {}, and the format is protobuf", fetched.kind));
    }
    let mut files: HashMap<String, String> = fetched.references.iter().cloned().collect();
    files.insert(MAIN.to_owned(), fetched.schema.clone());
    let mut resolver = ChainFileResolver::new();
    resolver.add(InMemory(files));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    let cannot = |error: protox::Error| format!("cannot be compiled: {error}");
    compiler.include_imports(true).open_file(MAIN).map_err(cannot)?;
    let file = compiler.descriptor_pool().get_file_by_name(MAIN);
    file.map(ProtobufSchema::File).ok_or_else(|| "is empty".to_owned())
}

struct InMemory(HashMap<String, String>);

impl FileResolver for InMemory {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        path.to_str().map(str::to_owned)
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let source = self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        let descriptor = STANDARD.decode(source).ok().and_then(|bytes| FileDescriptorProto::decode(&*bytes).ok());
        match descriptor {
            Some(descriptor) => {
                let named = FileDescriptorProto { name: Some(name.to_owned()), ..descriptor };
                Ok(File::from_file_descriptor_proto(named))
            }
            None => File::from_source(name, source),
        }
    }
}
