using System.Buffers.Binary;

namespace Mesh.Ztunnel.Dns;

/// <summary>The first twelve octets of a message.</summary>
/// <remarks>
/// RFC 1035 section 4.1.1, with AD and CD of RFC 4035:
/// <code>
/// | ID | QR Opcode(4) AA TC RD RA Z AD CD RCODE(4) | QDCOUNT | ANCOUNT | NSCOUNT | ARCOUNT |
/// </code>
/// </remarks>
internal readonly record struct DnsHeader(ushort Id, ushort Flags, ushort Questions, ushort Answers, ushort Authority, ushort Additional)
{
    public const int Length = 12;
    public const ushort Response = 0x8000;
    public const ushort AuthoritativeAnswer = 0x0400;
    public const ushort TruncatedMessage = 0x0200;
    public const ushort RecursionDesired = 0x0100;
    public const ushort RecursionAvailable = 0x0080;
    public const ushort AuthenticData = 0x0020;
    public const ushort CheckingDisabled = 0x0010;
    public const byte OpcodeQuery = 0;
    private const int OpcodeShift = 11;

    public bool IsResponse => (Flags & Response) != 0;

    public byte Opcode => (byte)((Flags >> OpcodeShift) & 0xF);

    /// <summary>The four low bits of the response code.</summary>
    public byte Code => (byte)(Flags & 0xF);

    public bool Has(ushort flag) => (Flags & flag) != 0;

    public static ushort FlagsOf(byte opcode) => (ushort)(opcode << OpcodeShift);

    public static bool TryRead(ReadOnlySpan<byte> message, out DnsHeader header)
    {
        header = default;
        if (message.Length < Length)
        {
            return false;
        }

        header = new DnsHeader(At(message, 0), At(message, 2), At(message, 4), At(message, 6), At(message, 8), At(message, 10));
        return true;
    }

    public void Write(Span<byte> message)
    {
        Put(message, 0, Id);
        Put(message, 2, Flags);
        Put(message, 4, Questions);
        Put(message, 6, Answers);
        Put(message, 8, Authority);
        Put(message, 10, Additional);
    }

    private static ushort At(ReadOnlySpan<byte> message, int at) => BinaryPrimitives.ReadUInt16BigEndian(message[at..]);

    private static void Put(Span<byte> message, int at, ushort value) => BinaryPrimitives.WriteUInt16BigEndian(message[at..], value);
}
