using System.Net;

namespace Mesh.Core.Workloads;

/// <summary>Where a waypoint or network gateway is to be found (ztunnel §6.1): a host name, or an address in a network.</summary>
public sealed record GatewayAddress
{
    private GatewayAddress(NamespacedHostname? hostname, NetworkAddress? address, int hboneMtlsPort)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(hboneMtlsPort, IPEndPoint.MinPort);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(hboneMtlsPort, IPEndPoint.MaxPort);
        Hostname = hostname;
        Address = address;
        HboneMtlsPort = hboneMtlsPort;
    }

    /// <summary>Refers by host name, to a service or a workload.</summary>
    public GatewayAddress(NamespacedHostname hostname, int hboneMtlsPort)
        : this(hostname, null, hboneMtlsPort)
    {
    }

    /// <summary>Refers by address, to a service VIP or a workload.</summary>
    public GatewayAddress(NetworkAddress address, int hboneMtlsPort)
        : this(null, address, hboneMtlsPort)
    {
    }

    /// <summary>The host name; null when the reference is an address.</summary>
    public NamespacedHostname? Hostname { get; }

    /// <summary>The address; null when the reference is a host name.</summary>
    public NetworkAddress? Address { get; }

    /// <summary>The port of its HBONE listener, usually 15008.</summary>
    public int HboneMtlsPort { get; }

    /// <summary>The destination as configuration writes it.</summary>
    public override string ToString() => Hostname?.ToString() ?? Address.ToString()!;
}

/// <summary>One of several waypoints of a service, chosen per connection (ztunnel §6.1).</summary>
/// <param name="Destination">The waypoint.</param>
/// <param name="Weight">Its share; 0 is never chosen.</param>
public sealed record WeightedWaypoint(GatewayAddress Destination, uint Weight);
