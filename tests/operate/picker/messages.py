"""Envoy's messages of external processing, as far as a picker reads and writes them.

Names, numbers and types are those of envoy/service/ext_proc/v3/external_processor.proto and of what it imports; fields
that are not here are ignored, as protobuf does.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2

SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
_PACKAGE: Final = "conch.tests.ext_proc"  # messages have no name on the wire
_STRUCT: Final = "google.protobuf.Struct"
_MESSAGES: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "HeaderValue": {"key": (1, "string"), "value": (2, "string"), "raw_value": (3, "bytes")},
    "HeaderMap": {"headers": (1, "repeated HeaderValue")},
    "HttpHeaders": {"headers": (1, "HeaderMap"), "end_of_stream": (3, "bool")},
    "HttpBody": {"body": (1, "bytes"), "end_of_stream": (2, "bool")},
    "HttpTrailers": {"trailers": (1, "HeaderMap")},
    "ProcessingRequest": {
        "request_headers": (2, "oneof HttpHeaders"),
        "response_headers": (3, "oneof HttpHeaders"),
        "request_body": (4, "oneof HttpBody"),
        "response_body": (5, "oneof HttpBody"),
        "request_trailers": (6, "oneof HttpTrailers"),
        "response_trailers": (7, "oneof HttpTrailers"),
    },
    "HeaderValueOption": {"header": (1, "HeaderValue"), "append_action": (3, "int32")},
    "HeaderMutation": {"set_headers": (1, "repeated HeaderValueOption")},
    "StreamedBodyResponse": {"body": (1, "bytes"), "end_of_stream": (2, "bool")},
    "BodyMutation": {"streamed_response": (3, "oneof StreamedBodyResponse")},
    "CommonResponse": {
        "header_mutation": (2, "HeaderMutation"),
        "body_mutation": (3, "BodyMutation"),
        "clear_route_cache": (5, "bool"),
    },
    "HeadersResponse": {"response": (1, "CommonResponse")},
    "BodyResponse": {"response": (1, "CommonResponse")},
    "TrailersResponse": {"header_mutation": (1, "HeaderMutation")},
    "HttpStatus": {"code": (1, "int32")},
    "ImmediateResponse": {"status": (1, "HttpStatus"), "body": (3, "bytes")},
    "ProcessingResponse": {
        "request_headers": (1, "oneof HeadersResponse"),
        "response_headers": (2, "oneof HeadersResponse"),
        "request_body": (3, "oneof BodyResponse"),
        "response_body": (4, "oneof BodyResponse"),
        "request_trailers": (5, "oneof TrailersResponse"),
        "response_trailers": (6, "oneof TrailersResponse"),
        "immediate_response": (7, "oneof ImmediateResponse"),
        "dynamic_metadata": (8, _STRUCT),
    },
}
_SCALARS: Final = {"string": 9, "bytes": 12, "bool": 8, "int32": 5}  # FieldDescriptorProto.Type


def _file() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="ext_proc.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append(struct_pb2.DESCRIPTOR.name)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            how, _, type_name = kind.rpartition(" ")
            added = message.field.add(name=field, number=number, label=3 if how == "repeated" else 1)
            added.type = _SCALARS.get(type_name, 11)
            if type_name not in _SCALARS:
                added.type_name = f".{type_name}" if type_name == _STRUCT else f".{_PACKAGE}.{type_name}"
            if how == "oneof":
                if not message.oneof_decl:
                    message.oneof_decl.add(name="kind")
                added.oneof_index = 0
    return file


_POOL: Final = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
_POOL.AddSerializedFile(_file().SerializeToString())
ProcessingRequest: Final[Any] = message_factory.GetMessageClass(
    _POOL.FindMessageTypeByName(f"{_PACKAGE}.ProcessingRequest")
)
ProcessingResponse: Final[Any] = message_factory.GetMessageClass(
    _POOL.FindMessageTypeByName(f"{_PACKAGE}.ProcessingResponse")
)
