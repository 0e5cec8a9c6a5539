using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Mesh.Core.Identity;

namespace Mesh.Ztunnel.Inbound;

/// <summary>The header that tells an application behind a tunnel who the client is and where it meant to go: PROXY protocol, version 2 (ztunnel §8.3).</summary>
internal static class ProxyProtocolHeader
{
    // Version 2, command PROXY.
    private const byte VersionAndCommand = 0x21;
    private const byte Tcp4 = 0x11;
    private const byte Tcp6 = 0x21;
    private const byte Unspecified = 0x00;
    private const byte PeerIdentity = 0xD0;

    private static ReadOnlySpan<byte> Signature => "\r\n\r\n\0\r\nQUIT\n"u8;

    /// <summary>Writes a header.</summary>
    /// <param name="source">The client.</param>
    /// <param name="destination">Where it meant to go. Of another family than the client, neither is named.</param>
    /// <param name="identity">The identity that the client has proved; null for none.</param>
    public static byte[] Write(IPEndPoint source, IPEndPoint destination, SpiffeId? identity)
    {
        var isOneFamily = source.AddressFamily == destination.AddressFamily;
        byte[] addresses = isOneFamily ? [.. source.Address.GetAddressBytes(), .. destination.Address.GetAddressBytes(), .. Port(source), .. Port(destination)] : [];
        byte[] identityValue = identity is null ? [] : TypeLengthValue(PeerIdentity, Encoding.ASCII.GetBytes(identity.ToString()));
        var family = !isOneFamily ? Unspecified : source.AddressFamily is AddressFamily.InterNetwork ? Tcp4 : Tcp6;
        return [.. Signature, VersionAndCommand, family, .. Length(addresses.Length + identityValue.Length), .. addresses, .. identityValue];
    }

    private static byte[] TypeLengthValue(byte type, byte[] value) => [type, .. Length(value.Length), .. value];

    private static byte[] Port(IPEndPoint endPoint) => Length(endPoint.Port);

    private static byte[] Length(int value)
    {
        var bytes = new byte[2];
        BinaryPrimitives.WriteUInt16BigEndian(bytes, checked((ushort)value));
        return bytes;
    }
}
