// Protobuf's wire format, as far as reading messages.proto takes it.

export interface Field {
  number: number;
  /** Of a varint field. */
  value: bigint;
  /** Of a field with a length; empty otherwise. */
  bytes: Buffer;
}

/** Splits a serialised message into its fields; throws where it is none. */
export function fields(data: Buffer): Field[] {
  const found: Field[] = [];
  let at = 0;

  function take(size: number): Buffer {
    if (size > data.length - at) throw new Error("a message ends too early");
    at += size;
    return data.subarray(at - size, at);
  }

  function varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = take(1).readUInt8();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (value >= 1n << 64n) break;
        return value;
      }
    }
    throw new Error("a number is too long");
  }

  while (at < data.length) {
    const tag = varint();
    const field: Field = { number: Number(tag >> 3n), value: 0n, bytes: Buffer.alloc(0) };
    if (field.number === 0) throw new Error("there is no field 0");
    switch (Number(tag & 7n)) {
      case 0:
        field.value = varint();
        break;
      case 1:
        take(8);
        break;
      case 2:
        field.bytes = take(Number(varint()));
        break;
      case 5:
        take(4);
        break;
      default:
        throw new Error("a field of an unknown kind");
    }
    found.push(field);
  }
  return found;
}
