using System.Diagnostics.CodeAnalysis;
using System.Net;

namespace Mesh.Core.Workloads;

/// <summary>An IP address within a network (ztunnel §6.1). Networks of a mesh may use the same addresses twice.</summary>
/// <remarks>An IPv4 address in IPv6 form is kept as IPv4 (ztunnel §1).</remarks>
public readonly record struct NetworkAddress
{
    /// <summary>Joins a network and an address.</summary>
    /// <param name="network">The network's name; empty for the default network.</param>
    /// <param name="address">The address.</param>
    public NetworkAddress(string network, IPAddress address)
    {
        ArgumentNullException.ThrowIfNull(network);
        ArgumentNullException.ThrowIfNull(address);
        Network = network;
        Address = Canonical(address);
    }

    /// <summary>The network's name; empty for the default network.</summary>
    public string Network { get; }

    /// <summary>The address.</summary>
    public IPAddress Address { get; }

    /// <summary>Reads an address strictly: IPv4 as four decimal numbers, IPv6 without a scope; IPv4 in IPv6 form becomes IPv4.</summary>
    /// <remarks><see cref="IPAddress.TryParse(string, out IPAddress)"/> also takes 80, 10.1, 010.0.0.1 and 0x0a.0.0.1, which are other addresses than they look.</remarks>
    public static bool TryParseAddress(ReadOnlySpan<char> text, [NotNullWhen(true)] out IPAddress? address)
    {
        address = null;
        var strict = text.Contains(':') ? !text.ContainsAny('%', '[', ']') : IsDottedDecimal(text);
        if (!strict || !IPAddress.TryParse(text, out var parsed))
        {
            return false;
        }

        address = Canonical(parsed);
        return true;
    }

    /// <summary>The address with an IPv4-mapped IPv6 address turned into IPv4.</summary>
    public static IPAddress Canonical(IPAddress address) => address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;

    /// <summary>The endpoint with its address in canonical form.</summary>
    public static IPEndPoint Canonical(IPEndPoint endPoint) =>
        endPoint.Address.IsIPv4MappedToIPv6 ? new IPEndPoint(endPoint.Address.MapToIPv4(), endPoint.Port) : endPoint;

    /// <summary><c>network/address</c>, as configuration writes it.</summary>
    public override string ToString() => $"{Network}/{Address}";

    private static bool IsDottedDecimal(ReadOnlySpan<char> text)
    {
        var parts = 0;
        foreach (var range in text.Split('.'))
        {
            var part = text[range];
            if (part.Length is 0 or > 3 || part.ContainsAnyExceptInRange('0', '9') || part is ['0', _, ..])
            {
                return false;
            }

            parts++;
        }

        return parts == 4;
    }
}
