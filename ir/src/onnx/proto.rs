//! Numbers of the fields of ONNX's messages, a module for each message, and of the kinds of attributes
//! (`onnx.proto` of the standard). Only those that graph-opt reads or writes are listed.

/// Defines a module of numbers for each message.
macro_rules! numbers {
    ($($message:ident: $ty:ty { $($name:ident = $number:literal,)* })*) => {
        $(pub(super) mod $message {
            $(pub const $name: $ty = $number;)*
        })*
    };
}

numbers! {
    // ModelProto.
    model: u32 {
        IR_VERSION = 1,
        PRODUCER_NAME = 2,
        PRODUCER_VERSION = 3,
        GRAPH = 7,
        OPSET_IMPORT = 8,
        METADATA_PROPS = 14,
        TRAINING_INFO = 20,
        FUNCTIONS = 25,
        CONFIGURATION = 26,
    }

    // OperatorSetIdProto.
    opset_id: u32 {
        DOMAIN = 1,
        VERSION = 2,
    }

    // GraphProto.
    graph: u32 {
        NODE = 1,
        NAME = 2,
        INITIALIZER = 5,
        INPUT = 11,
        OUTPUT = 12,
        VALUE_INFO = 13,
        QUANTIZATION_ANNOTATION = 14,
        SPARSE_INITIALIZER = 15,
        METADATA_PROPS = 16,
    }

    // SequenceProto.
    sequence: u32 {
        NAME = 1,
        KIND = 2,
        TENSORS = 3,
    }

    // OptionalProto.
    optional: u32 {
        NAME = 1,
        KIND = 2,
        TENSOR = 3,
        SEQUENCE = 5,
    }

    // NodeProto.
    node: u32 {
        INPUT = 1,
        OUTPUT = 2,
        NAME = 3,
        OP_TYPE = 4,
        ATTRIBUTE = 5,
        DOC_STRING = 6,
        DOMAIN = 7,
        OVERLOAD = 8,
        METADATA_PROPS = 9,
        DEVICE_CONFIGURATIONS = 10,
    }

    // AttributeProto.
    attribute: u32 {
        NAME = 1,
        F = 2,
        I = 3,
        S = 4,
        T = 5,
        G = 6,
        FLOATS = 7,
        INTS = 8,
        STRINGS = 9,
        TENSORS = 10,
        GRAPHS = 11,
        TP = 14,
        TYPE_PROTOS = 15,
        TYPE = 20,
        REF_ATTR_NAME = 21,
        SPARSE_TENSOR = 22,
        SPARSE_TENSORS = 23,
    }

    // AttributeProto.AttributeType.
    attribute_type: i64 {
        UNDEFINED = 0,
        FLOAT = 1,
        INT = 2,
        STRING = 3,
        TENSOR = 4,
        GRAPH = 5,
        FLOATS = 6,
        INTS = 7,
        STRINGS = 8,
        TENSORS = 9,
        GRAPHS = 10,
        TYPE_PROTOS = 14,
    }

    // FunctionProto.
    function: u32 {
        NAME = 1,
        INPUT = 4,
        OUTPUT = 5,
        ATTRIBUTE = 6,
        NODE = 7,
        OPSET_IMPORT = 9,
        DOMAIN = 10,
        ATTRIBUTE_PROTO = 11,
        VALUE_INFO = 12,
        OVERLOAD = 13,
        METADATA_PROPS = 14,
    }

    // TrainingInfoProto.
    training: u32 {
        INITIALIZATION = 1,
        ALGORITHM = 2,
        INITIALIZATION_BINDING = 3,
        UPDATE_BINDING = 4,
    }

    // TensorProto.
    tensor: u32 {
        DIMS = 1,
        DATA_TYPE = 2,
        SEGMENT = 3,
        FLOAT_DATA = 4,
        INT32_DATA = 5,
        STRING_DATA = 6,
        INT64_DATA = 7,
        NAME = 8,
        RAW_DATA = 9,
        DOUBLE_DATA = 10,
        UINT64_DATA = 11,
        DOC_STRING = 12,
        EXTERNAL_DATA = 13,
        DATA_LOCATION = 14,
        METADATA_PROPS = 16,
    }

    // SparseTensorProto.
    sparse: u32 {
        VALUES = 1,
        INDICES = 2,
        DIMS = 3,
    }

    // TensorAnnotation.
    annotation: u32 {
        TENSOR_NAME = 1,
        QUANT_PARAMETER_TENSOR_NAMES = 2,
    }

    // StringStringEntryProto.
    entry: u32 {
        KEY = 1,
        VALUE = 2,
    }

    // ValueInfoProto.
    value_info: u32 {
        TYPE = 2,
        METADATA_PROPS = 4,
    }

    // TypeProto.
    ty: u32 {
        TENSOR_TYPE = 1,
        SEQUENCE_TYPE = 4,
        MAP_TYPE = 5,
        OPAQUE_TYPE = 7,
        SPARSE_TENSOR_TYPE = 8,
        OPTIONAL_TYPE = 9,
        // Of TypeProto.Tensor and TypeProto.SparseTensor.
        SHAPE = 2,
        // Of TypeProto.Sequence and TypeProto.Optional.
        ELEM_TYPE = 1,
        // Of TypeProto.Map.
        VALUE_TYPE = 2,
        // Of TensorShapeProto.
        DIM = 1,
    }

    // DeviceConfigurationProto.
    configuration: u32 {
        NAME = 1,
        NUM_DEVICES = 2,
        DEVICE = 3,
    }

    // NodeDeviceConfigurationProto.
    node_devices: u32 {
        CONFIGURATION_ID = 1,
        SHARDING_SPEC = 2,
        PIPELINE_STAGE = 3,
    }

    // ShardingSpecProto, and the ShardedDimProto in it.
    sharding: u32 {
        INDEX_TO_DEVICE_GROUP_MAP = 3,
        SHARDED_DIM = 4,
        SIMPLE_SHARDING = 2,
    }

    // TensorProto.DataLocation.
    data_location: i64 {
        EXTERNAL = 1,
    }
}
