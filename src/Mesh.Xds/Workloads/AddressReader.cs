using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Net;
using Google.Protobuf;
using Google.Protobuf.Collections;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using CoreGatewayAddress = Mesh.Core.Workloads.GatewayAddress;
using CoreIPFamilies = Mesh.Core.Workloads.IPFamilies;
using CoreLoadBalancing = Mesh.Core.Workloads.LoadBalancing;
using CoreLocality = Mesh.Core.Workloads.Locality;
using CoreNamespacedHostname = Mesh.Core.Workloads.NamespacedHostname;
using CoreNetworkAddress = Mesh.Core.Workloads.NetworkAddress;
using CoreNetworkMode = Mesh.Core.Workloads.NetworkMode;
using CoreService = Mesh.Core.Workloads.Service;
using CoreTunnelProtocol = Mesh.Core.Workloads.TunnelProtocol;
using CoreWeightedWaypoint = Mesh.Core.Workloads.WeightedWaypoint;
using CoreWorkload = Mesh.Core.Workloads.Workload;
using CoreWorkloadStatus = Mesh.Core.Workloads.WorkloadStatus;
using CoreWorkloadType = Mesh.Core.Workloads.WorkloadType;
using Wire = Mesh.Xds.Protos;

namespace Mesh.Xds.Workloads;

/// <summary>Reads <c>istio.workload.Address</c> (ztunnel §6.1): a workload or a service of the model. Not thread-safe.</summary>
internal sealed class AddressReader
{
    private const int DefaultHbonePort = 15008;

    private readonly SharedValues _shared = new();

    /// <summary>Reads one.</summary>
    /// <exception cref="InvalidProtocolBufferException">The octets are no such message.</exception>
    /// <exception cref="ResourceException">A field has a value that is not allowed; all such fields are named.</exception>
    public MeshAddress Read(ReadOnlySpan<byte> octets)
    {
        var address = Parse(octets);
        var faults = new Faults();
        MeshAddress? read = address.TypeCase switch
        {
            Wire.Address.TypeOneofCase.Workload => new MeshAddress(Read(address.Workload, faults), null),
            Wire.Address.TypeOneofCase.Service => new MeshAddress(null, Read(address.Service, faults)),
            _ => throw new ResourceException("it is neither a workload nor a service"),
        };
        return faults.Any ? throw new ResourceException(faults.ToString()) : read;
    }

    private static Wire.Address Parse(ReadOnlySpan<byte> octets)
    {
        try
        {
            return Wire.Address.Parser.ParseFrom(octets);
        }
        catch (InvalidOperationException e)
        {
            // This is what Google.Protobuf says of a capacity that ends in the middle.
            throw new ResourceException($"it is neither a workload nor a service: {e.Message}");
        }
    }

    private CoreWorkload Read(Wire.Workload wire, Faults faults)
    {
        if (wire.Uid.Length == 0)
        {
            faults.Add("uid", "is empty");
        }

        var workload = new CoreWorkload
        {
            Uid = wire.Uid,
            Name = wire.Name,
            Namespace = _shared.Text(wire.Namespace),
            TrustDomain = ReadTrustDomain(wire.TrustDomain, faults),
            ServiceAccount = wire.ServiceAccount.Length == 0 ? "default" : _shared.Text(wire.ServiceAccount),
            Addresses = ReadAddresses(wire.Addresses, faults),
            Network = _shared.Text(wire.Network),
            Protocol = wire.TunnelProtocol switch
            {
                Wire.TunnelProtocol.None => CoreTunnelProtocol.None,
                Wire.TunnelProtocol.Hbone => CoreTunnelProtocol.Hbone,
                _ => faults.Unknown("tunnel_protocol", wire.TunnelProtocol, "NONE (0) and HBONE (1)", CoreTunnelProtocol.None),
            },
            NetworkMode = wire.NetworkMode switch
            {
                Wire.NetworkMode.Standard => CoreNetworkMode.Standard,
                Wire.NetworkMode.HostNetwork => CoreNetworkMode.HostNetwork,
                _ => faults.Unknown("network_mode", wire.NetworkMode, "STANDARD (0) and HOST_NETWORK (1)", CoreNetworkMode.Standard),
            },
            Status = wire.Status switch
            {
                Wire.WorkloadStatus.Healthy => CoreWorkloadStatus.Healthy,
                Wire.WorkloadStatus.Unhealthy => CoreWorkloadStatus.Unhealthy,
                _ => faults.Unknown("status", wire.Status, "HEALTHY (0) and UNHEALTHY (1)", CoreWorkloadStatus.Unhealthy),
            },
            Waypoint = ReadGateway(wire.Waypoint, "waypoint", faults),
            NetworkGateway = ReadGateway(wire.NetworkGateway, "network_gateway", faults),
            Node = _shared.Text(wire.Node),
            CanonicalName = _shared.Text(wire.CanonicalName),
            CanonicalRevision = _shared.Text(wire.CanonicalRevision),

            // Of telemetry alone: one that is not known yet is no reason to lose the workload (ztunnel §5.5).
            WorkloadType = Enum.IsDefined((CoreWorkloadType)wire.WorkloadType) ? (CoreWorkloadType)wire.WorkloadType : CoreWorkloadType.Deployment,
            WorkloadName = _shared.Text(wire.WorkloadName),
            NativeTunnel = wire.NativeTunnel,
            Hostname = wire.Hostname,
            ClusterId = wire.ClusterId.Length == 0 ? "Kubernetes" : _shared.Text(wire.ClusterId),
            Locality = wire.Locality is { } locality && (locality.Region.Length | locality.Zone.Length | locality.Subzone.Length) > 0
                ? new CoreLocality(_shared.Text(locality.Region), _shared.Text(locality.Zone), _shared.Text(locality.Subzone))
                : CoreLocality.Unknown,
            ApplicationTunnel = ReadApplicationTunnel(wire.ApplicationTunnel, faults),
            Capacity = wire.Capacity ?? 1,
            AuthorizationPolicies = wire.AuthorizationPolicies.Count == 0 ? [] : [.. wire.AuthorizationPolicies.Select(_shared.Text)],
            Services = ReadServices(wire.Services, faults),
        };
        CheckIdentity(workload, faults);
        return workload;
    }

    private CoreService Read(Wire.Service wire, Faults faults)
    {
        if (wire.Hostname.Length == 0)
        {
            faults.Add("hostname", "is empty");
        }

        var (vips, ranges) = ReadVips(wire.Addresses, faults);
        return new CoreService
        {
            Name = wire.Name,
            Namespace = _shared.Text(wire.Namespace),
            Hostname = wire.Hostname,
            Vips = vips,
            CidrVips = ranges,
            Ports = ReadPorts(wire.Ports, "ports", faults),
            SubjectAltNames = wire.SubjectAltNames.Count == 0 ? [] : [.. wire.SubjectAltNames.Select(_shared.Text)],
            Waypoint = ReadGateway(wire.Waypoint, "waypoint", faults),
            WeightedWaypoints = [.. wire.WeightedWaypoints.Select((one, index) => ReadWeighted(one, $"weighted_waypoints[{index}]", faults)).OfType<CoreWeightedWaypoint>()],
            LoadBalancing = ReadLoadBalancing(wire.LoadBalancing, faults),
            IPFamilies = wire.IpFamilies switch
            {
                Wire.IPFamilies.Automatic => CoreIPFamilies.Automatic,
                Wire.IPFamilies.Ipv4Only => CoreIPFamilies.IPv4Only,
                Wire.IPFamilies.Ipv6Only => CoreIPFamilies.IPv6Only,
                Wire.IPFamilies.Dual => CoreIPFamilies.Dual,
                _ => faults.Unknown("ip_families", wire.IpFamilies, "AUTOMATIC (0) to DUAL (3)", CoreIPFamilies.Automatic),
            },
            Canonical = wire.Canonical,
            Visibility = wire.Visibility is Wire.Service.Types.Visibility.Namespace ? ServiceVisibility.Namespace : ServiceVisibility.Public,
        };
    }

    private static TrustDomain ReadTrustDomain(string text, Faults faults)
    {
        if (text.Length == 0 || text == TrustDomain.ClusterLocal.Name)
        {
            return TrustDomain.ClusterLocal;
        }

        if (TrustDomain.TryParse(text, out var trustDomain, out var error))
        {
            return trustDomain;
        }

        faults.Add("trust_domain", $"is none: {error}");
        return TrustDomain.ClusterLocal;
    }

    private static void CheckIdentity(CoreWorkload workload, Faults faults)
    {
        try
        {
            _ = workload.Identity;
        }
        catch (FormatException e)
        {
            faults.Add("namespace and service_account", $"make no identity: {e.Message}");
        }
    }

    private static ImmutableArray<IPAddress> ReadAddresses(RepeatedField<ByteString> wire, Faults faults)
    {
        var addresses = ImmutableArray.CreateBuilder<IPAddress>(wire.Count);
        for (var i = 0; i < wire.Count; i++)
        {
            if (ReadAddress(wire[i], $"addresses[{i}]", faults) is { } address)
            {
                addresses.Add(address);
            }
        }

        return addresses.DrainToImmutable();
    }

    internal static IPAddress? ReadAddress(ByteString octets, string field, Faults faults)
    {
        if (octets.Length is 4 or 16)
        {
            return CoreNetworkAddress.Canonical(new IPAddress(octets.Span));
        }

        faults.Add(field, $"has {octets.Length} octets; allowed are 4 and 16");
        return null;
    }

    private (ImmutableArray<CoreNetworkAddress> Vips, ImmutableArray<NetworkRange> Ranges) ReadVips(RepeatedField<Wire.NetworkAddress> wire, Faults faults)
    {
        var vips = ImmutableArray.CreateBuilder<CoreNetworkAddress>(wire.Count);
        var ranges = ImmutableArray.CreateBuilder<NetworkRange>();
        for (var i = 0; i < wire.Count; i++)
        {
            var one = wire[i];
            if (ReadAddress(one.Address, $"addresses[{i}].address", faults) is not { } address)
            {
                continue;
            }

            var bits = one.Address.Length * 8;
            if (!one.HasLength || one.Length == bits)
            {
                vips.Add(new CoreNetworkAddress(_shared.Text(one.Network), address));
            }
            else if (one.Length < bits)
            {
                ranges.Add(new NetworkRange(_shared.Text(one.Network), AddressRange.Create(new IPAddress(one.Address.Span), (int)one.Length)));
            }
            else
            {
                faults.Add($"addresses[{i}].length", $"is {one.Length}; allowed are 0 to {bits}");
            }
        }

        return (vips.DrainToImmutable(), ranges.DrainToImmutable());
    }

    private ImmutableDictionary<CoreNamespacedHostname, FrozenDictionary<int, int>> ReadServices(MapField<string, Wire.PortList> wire, Faults faults)
    {
        if (wire.Count == 0)
        {
            return ImmutableDictionary<CoreNamespacedHostname, FrozenDictionary<int, int>>.Empty;
        }

        var services = ImmutableDictionary.CreateBuilder<CoreNamespacedHostname, FrozenDictionary<int, int>>();
        foreach (var (key, ports) in wire)
        {
            var slash = key.IndexOf('/', StringComparison.Ordinal);
            if (slash < 0)
            {
                faults.Add("services", $"has the key '{key}'; allowed are keys of the form namespace/hostname");
                continue;
            }

            services[new CoreNamespacedHostname(_shared.Text(key[..slash]), _shared.Text(key[(slash + 1)..]))] = ReadPorts(ports.Ports, $"services[{key}].ports", faults);
        }

        return services.ToImmutable();
    }

    private FrozenDictionary<int, int> ReadPorts(RepeatedField<Wire.Port> wire, string field, Faults faults)
    {
        var ports = new Dictionary<int, int>(wire.Count);
        foreach (var port in wire)
        {
            if (port.ServicePort is 0 or > IPEndPoint.MaxPort || port.TargetPort > IPEndPoint.MaxPort)
            {
                faults.Add(field, $"has {port.ServicePort}:{port.TargetPort}; allowed are ports up to {IPEndPoint.MaxPort}");
                continue;
            }

            ports[(int)port.ServicePort] = (int)port.TargetPort;
        }

        return _shared.Ports(ports);
    }

    private CoreGatewayAddress? ReadGateway(Wire.GatewayAddress? wire, string field, Faults faults)
    {
        if (wire is null)
        {
            return null;
        }

        if (wire.HboneMtlsPort > IPEndPoint.MaxPort)
        {
            faults.Add($"{field}.hbone_mtls_port", $"is {wire.HboneMtlsPort}; allowed are 0 (for {DefaultHbonePort}) to {IPEndPoint.MaxPort}");
            return null;
        }

        var port = wire.HboneMtlsPort == 0 ? DefaultHbonePort : (int)wire.HboneMtlsPort;
        switch (wire.DestinationCase)
        {
            case Wire.GatewayAddress.DestinationOneofCase.Hostname:
                return new CoreGatewayAddress(new CoreNamespacedHostname(_shared.Text(wire.Hostname.Namespace), _shared.Text(wire.Hostname.Hostname)), port);
            case Wire.GatewayAddress.DestinationOneofCase.Address:
                return ReadAddress(wire.Address.Address, $"{field}.address", faults) is { } address
                    ? new CoreGatewayAddress(new CoreNetworkAddress(_shared.Text(wire.Address.Network), address), port)
                    : null;
            default:
                faults.Add(field, "has no destination; allowed are a hostname and an address");
                return null;
        }
    }

    private CoreWeightedWaypoint? ReadWeighted(Wire.WeightedWaypoint wire, string field, Faults faults)
    {
        if (wire.Destination is null)
        {
            faults.Add(field, "has no destination");
            return null;
        }

        return ReadGateway(wire.Destination, $"{field}.destination", faults) is { } destination ? new CoreWeightedWaypoint(destination, wire.Weight) : null;
    }

    private static CoreLoadBalancing ReadLoadBalancing(Wire.LoadBalancing? wire, Faults faults)
    {
        if (wire is null)
        {
            return CoreLoadBalancing.Default;
        }

        var mode = wire.Mode switch
        {
            Wire.LoadBalancing.Types.Mode.UnspecifiedMode => LoadBalancingMode.Standard,
            Wire.LoadBalancing.Types.Mode.Strict => LoadBalancingMode.Strict,
            Wire.LoadBalancing.Types.Mode.Failover => LoadBalancingMode.Failover,
            Wire.LoadBalancing.Types.Mode.Passthrough => LoadBalancingMode.Passthrough,
            _ => faults.Unknown("load_balancing.mode", wire.Mode, "UNSPECIFIED_MODE (0) to PASSTHROUGH (3)", LoadBalancingMode.Standard),
        };
        var health = wire.HealthPolicy switch
        {
            Wire.LoadBalancing.Types.HealthPolicy.OnlyHealthy => HealthPolicy.OnlyHealthy,
            Wire.LoadBalancing.Types.HealthPolicy.AllowAll => HealthPolicy.AllowAll,
            _ => faults.Unknown("load_balancing.health_policy", wire.HealthPolicy, "ONLY_HEALTHY (0) and ALLOW_ALL (1)", HealthPolicy.OnlyHealthy),
        };
        return new CoreLoadBalancing(mode, [.. wire.RoutingPreference.Select(scope => ReadScope(scope, faults))], health);
    }

    private static RoutingScope ReadScope(Wire.LoadBalancing.Types.Scope wire, Faults faults) => wire switch
    {
        Wire.LoadBalancing.Types.Scope.Region => RoutingScope.Region,
        Wire.LoadBalancing.Types.Scope.Zone => RoutingScope.Zone,
        Wire.LoadBalancing.Types.Scope.Subzone => RoutingScope.Subzone,
        Wire.LoadBalancing.Types.Scope.Node => RoutingScope.Node,
        Wire.LoadBalancing.Types.Scope.Cluster => RoutingScope.Cluster,
        Wire.LoadBalancing.Types.Scope.Network => RoutingScope.Network,
        _ => faults.Unknown("load_balancing.routing_preference", wire, "REGION (1) to NETWORK (6)", RoutingScope.Region),
    };

    private static ApplicationTunnel? ReadApplicationTunnel(Wire.ApplicationTunnel? wire, Faults faults)
    {
        if (wire is null)
        {
            return null;
        }

        if (wire.Port > IPEndPoint.MaxPort)
        {
            faults.Add("application_tunnel.port", $"is {wire.Port}; allowed are 0 (that of the request) to {IPEndPoint.MaxPort}");
            return null;
        }

        var protocol = wire.Protocol switch
        {
            Wire.ApplicationTunnel.Types.Protocol.None => ApplicationTunnelProtocol.None,
            Wire.ApplicationTunnel.Types.Protocol.Proxy => ApplicationTunnelProtocol.Proxy,
            _ => faults.Unknown("application_tunnel.protocol", wire.Protocol, "NONE (0) and PROXY (1)", ApplicationTunnelProtocol.None),
        };
        return new ApplicationTunnel(protocol, wire.Port == 0 ? null : (int)wire.Port);
    }
}
