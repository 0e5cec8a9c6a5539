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

    /// <summary>The address with an IPv4-mapped IPv6 address turned into IPv4.</summary>
    public static IPAddress Canonical(IPAddress address) => address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;

    /// <summary>The endpoint with its address in canonical form.</summary>
    public static IPEndPoint Canonical(IPEndPoint endPoint) =>
        endPoint.Address.IsIPv4MappedToIPv6 ? new IPEndPoint(endPoint.Address.MapToIPv4(), endPoint.Port) : endPoint;

    /// <summary><c>network/address</c>, as configuration writes it.</summary>
    public override string ToString() => $"{Network}/{Address}";
}
