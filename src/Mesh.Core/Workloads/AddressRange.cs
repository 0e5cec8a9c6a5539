using System.Net;
using System.Net.Sockets;

namespace Mesh.Core.Workloads;

/// <summary>Reads ranges of addresses as Istio's users write them: with host bits set, or a single address.</summary>
public static class AddressRange
{
    // ::ffff:0:0/96, the IPv4 addresses in IPv6 form.
    private const int MappedPrefix = 96;

    /// <summary>Reads <c>10.0.0.0/8</c>, <c>10.1.2.3/8</c> (host bits are dropped), <c>10.0.0.1</c>, and the same of IPv6.</summary>
    public static bool TryParse(string text, out IPNetwork range)
    {
        ArgumentNullException.ThrowIfNull(text);
        range = default;
        var slash = text.IndexOf('/', StringComparison.Ordinal);
        var host = slash < 0 ? text : text[..slash];
        if (!NetworkAddress.TryParseAddress(host, out var address))
        {
            return false;
        }

        // An IPv4 range in IPv6 form counts its length from there.
        var isMapped = host.Contains(':', StringComparison.Ordinal) && address.AddressFamily is AddressFamily.InterNetwork;
        address = isMapped ? address.MapToIPv6() : address;
        var bits = address.AddressFamily is AddressFamily.InterNetwork ? 32 : 128;
        var length = bits;
        if (slash >= 0 && !(int.TryParse(text.AsSpan(slash + 1), System.Globalization.NumberStyles.None, null, out length) && length <= bits))
        {
            return false;
        }

        range = Create(address, length);
        return true;
    }

    /// <summary>The range of the addresses that share their first bits with <paramref name="address"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The length is negative or more than the address has.</exception>
    public static IPNetwork Create(IPAddress address, int prefixLength)
    {
        ArgumentNullException.ThrowIfNull(address);
        ArgumentOutOfRangeException.ThrowIfNegative(prefixLength);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(prefixLength, address.GetAddressBytes().Length * 8);

        // Connections are judged by IPv4 addresses in their own form, so ranges of them must have it too.
        if (address.IsIPv4MappedToIPv6 && prefixLength >= MappedPrefix)
        {
            address = address.MapToIPv4();
            prefixLength -= MappedPrefix;
        }

        var bytes = address.GetAddressBytes();
        for (var i = 0; i < bytes.Length; i++)
        {
            var kept = Math.Clamp(prefixLength - (i * 8), 0, 8);
            bytes[i] &= (byte)(0xFF << (8 - kept));
        }

        return new IPNetwork(new IPAddress(bytes), prefixLength);
    }
}
