//! Numbers of the fields of ONNX's messages, a module a message, and of the kinds of attributes
//! (`onnx.proto` of ONNX 1.19). Only those that graph-opt reads or writes are listed.

/// ModelProto.
pub(super) mod model {
    pub const IR_VERSION: u32 = 1;
    pub const PRODUCER_NAME: u32 = 2;
    pub const PRODUCER_VERSION: u32 = 3;
    pub const GRAPH: u32 = 7;
    pub const OPSET_IMPORT: u32 = 8;
    pub const METADATA_PROPS: u32 = 14;
    pub const TRAINING_INFO: u32 = 20;
    pub const FUNCTIONS: u32 = 25;
    pub const CONFIGURATION: u32 = 26;
}

/// OperatorSetIdProto.
pub(super) mod opset_id {
    pub const DOMAIN: u32 = 1;
    pub const VERSION: u32 = 2;
}

/// GraphProto.
pub(super) mod graph {
    pub const NODE: u32 = 1;
    pub const NAME: u32 = 2;
    pub const INITIALIZER: u32 = 5;
    pub const INPUT: u32 = 11;
    pub const OUTPUT: u32 = 12;
    pub const VALUE_INFO: u32 = 13;
    pub const QUANTIZATION_ANNOTATION: u32 = 14;
    pub const SPARSE_INITIALIZER: u32 = 15;
    pub const METADATA_PROPS: u32 = 16;
}

/// NodeProto.
pub(super) mod node {
    pub const INPUT: u32 = 1;
    pub const OUTPUT: u32 = 2;
    pub const NAME: u32 = 3;
    pub const OP_TYPE: u32 = 4;
    pub const ATTRIBUTE: u32 = 5;
    pub const DOC_STRING: u32 = 6;
    pub const DOMAIN: u32 = 7;
    pub const OVERLOAD: u32 = 8;
    pub const METADATA_PROPS: u32 = 9;
    pub const DEVICE_CONFIGURATIONS: u32 = 10;
}

/// AttributeProto.
pub(super) mod attribute {
    pub const NAME: u32 = 1;
    pub const F: u32 = 2;
    pub const I: u32 = 3;
    pub const S: u32 = 4;
    pub const T: u32 = 5;
    pub const G: u32 = 6;
    pub const FLOATS: u32 = 7;
    pub const INTS: u32 = 8;
    pub const STRINGS: u32 = 9;
    pub const TENSORS: u32 = 10;
    pub const GRAPHS: u32 = 11;
    pub const TP: u32 = 14;
    pub const TYPE_PROTOS: u32 = 15;
    pub const TYPE: u32 = 20;
    pub const REF_ATTR_NAME: u32 = 21;
    pub const SPARSE_TENSOR: u32 = 22;
    pub const SPARSE_TENSORS: u32 = 23;
}

/// AttributeProto.AttributeType.
pub(super) mod attribute_type {
    pub const UNDEFINED: i64 = 0;
    pub const FLOAT: i64 = 1;
    pub const INT: i64 = 2;
    pub const STRING: i64 = 3;
    pub const TENSOR: i64 = 4;
    pub const GRAPH: i64 = 5;
    pub const FLOATS: i64 = 6;
    pub const INTS: i64 = 7;
    pub const STRINGS: i64 = 8;
    pub const TENSORS: i64 = 9;
    pub const GRAPHS: i64 = 10;
    pub const TYPE_PROTOS: i64 = 14;
}

/// FunctionProto.
pub(super) mod function {
    pub const NAME: u32 = 1;
    pub const INPUT: u32 = 4;
    pub const OUTPUT: u32 = 5;
    pub const ATTRIBUTE: u32 = 6;
    pub const NODE: u32 = 7;
    pub const OPSET_IMPORT: u32 = 9;
    pub const DOMAIN: u32 = 10;
    pub const ATTRIBUTE_PROTO: u32 = 11;
    pub const VALUE_INFO: u32 = 12;
    pub const OVERLOAD: u32 = 13;
    pub const METADATA_PROPS: u32 = 14;
}

/// TrainingInfoProto.
pub(super) mod training {
    pub const INITIALIZATION: u32 = 1;
    pub const ALGORITHM: u32 = 2;
    pub const INITIALIZATION_BINDING: u32 = 3;
    pub const UPDATE_BINDING: u32 = 4;
}

/// TensorProto.
pub(super) mod tensor {
    pub const DIMS: u32 = 1;
    pub const DATA_TYPE: u32 = 2;
    pub const SEGMENT: u32 = 3;
    pub const FLOAT_DATA: u32 = 4;
    pub const INT32_DATA: u32 = 5;
    pub const STRING_DATA: u32 = 6;
    pub const INT64_DATA: u32 = 7;
    pub const NAME: u32 = 8;
    pub const RAW_DATA: u32 = 9;
    pub const DOUBLE_DATA: u32 = 10;
    pub const UINT64_DATA: u32 = 11;
    pub const DOC_STRING: u32 = 12;
    pub const EXTERNAL_DATA: u32 = 13;
    pub const DATA_LOCATION: u32 = 14;
    pub const METADATA_PROPS: u32 = 16;
    /// TensorProto.DataLocation.EXTERNAL.
    pub const EXTERNAL: i64 = 1;
}

/// SparseTensorProto.
pub(super) mod sparse {
    pub const VALUES: u32 = 1;
    pub const INDICES: u32 = 2;
    pub const DIMS: u32 = 3;
}

/// TensorAnnotation.
pub(super) mod annotation {
    pub const TENSOR_NAME: u32 = 1;
    pub const QUANT_PARAMETER_TENSOR_NAMES: u32 = 2;
}

/// StringStringEntryProto.
pub(super) mod entry {
    pub const KEY: u32 = 1;
    pub const VALUE: u32 = 2;
}

/// ValueInfoProto.
pub(super) mod value_info {
    pub const TYPE: u32 = 2;
    pub const METADATA_PROPS: u32 = 4;
}

/// TypeProto.
pub(super) mod ty {
    pub const TENSOR_TYPE: u32 = 1;
    pub const SEQUENCE_TYPE: u32 = 4;
    pub const MAP_TYPE: u32 = 5;
    pub const OPAQUE_TYPE: u32 = 7;
    pub const SPARSE_TENSOR_TYPE: u32 = 8;
    pub const OPTIONAL_TYPE: u32 = 9;
    /// Of TypeProto.Tensor and TypeProto.SparseTensor.
    pub const SHAPE: u32 = 2;
    /// Of TypeProto.Sequence and TypeProto.Optional.
    pub const ELEM_TYPE: u32 = 1;
    /// Of TypeProto.Map.
    pub const VALUE_TYPE: u32 = 2;
    /// Of TensorShapeProto.
    pub const DIM: u32 = 1;
}

/// DeviceConfigurationProto.
pub(super) mod configuration {
    pub const NAME: u32 = 1;
    pub const NUM_DEVICES: u32 = 2;
    pub const DEVICE: u32 = 3;
}

/// NodeDeviceConfigurationProto.
pub(super) mod node_devices {
    pub const CONFIGURATION_ID: u32 = 1;
    pub const SHARDING_SPEC: u32 = 2;
    pub const PIPELINE_STAGE: u32 = 3;
}

/// ShardingSpecProto, and the ShardedDimProto in it.
pub(super) mod sharding {
    pub const INDEX_TO_DEVICE_GROUP_MAP: u32 = 3;
    pub const SHARDED_DIM: u32 = 4;
    pub const SIMPLE_SHARDING: u32 = 2;
}
