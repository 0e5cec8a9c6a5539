using System.Collections.Frozen;
using System.Net;
using Google.Protobuf;
using Mesh.Core.Workloads;
using CoreService = Mesh.Core.Workloads.Service;
using CoreWorkload = Mesh.Core.Workloads.Workload;
using Wire = Mesh.Xds.Protos;

namespace Mesh.Xds.Workloads;

/// <summary>Writes workloads and services as <c>istio.workload.Address</c>: the reverse of <see cref="AddressReader"/>.</summary>
internal static class AddressWriter
{
    public static Wire.Address Write(CoreWorkload workload)
    {
        var wire = new Wire.Workload
        {
            Uid = workload.Uid,
            Name = workload.Name,
            Namespace = workload.Namespace,
            Network = workload.Network,
            TunnelProtocol = workload.Protocol is TunnelProtocol.Hbone ? Wire.TunnelProtocol.Hbone : Wire.TunnelProtocol.None,
            TrustDomain = workload.TrustDomain.Name,
            ServiceAccount = workload.ServiceAccount,
            Waypoint = Write(workload.Waypoint),
            Node = workload.Node,
            CanonicalName = workload.CanonicalName,
            CanonicalRevision = workload.CanonicalRevision,
            WorkloadType = (Wire.WorkloadType)workload.WorkloadType,
            WorkloadName = workload.WorkloadName,
            NativeTunnel = workload.NativeTunnel,
            Status = (Wire.WorkloadStatus)workload.Status,
            ClusterId = workload.ClusterId,
            NetworkGateway = Write(workload.NetworkGateway),
            Hostname = workload.Hostname,
            NetworkMode = (Wire.NetworkMode)workload.NetworkMode,
            Capacity = workload.Capacity,
        };
        wire.Addresses.Add(workload.Addresses.Select(Write));
        wire.AuthorizationPolicies.Add(workload.AuthorizationPolicies);
        foreach (var (service, ports) in workload.Services.OrderBy(service => service.Key.ToString(), StringComparer.Ordinal))
        {
            var list = new Wire.PortList();
            list.Ports.Add(Write(ports));
            wire.Services.Add(service.ToString(), list);
        }

        if (workload.ApplicationTunnel is { } tunnel)
        {
            wire.ApplicationTunnel = new Wire.ApplicationTunnel { Protocol = (Wire.ApplicationTunnel.Types.Protocol)tunnel.Protocol, Port = (uint)(tunnel.Port ?? 0) };
        }

        if (workload.Locality != Locality.Unknown)
        {
            wire.Locality = new Wire.Locality { Region = workload.Locality.Region, Zone = workload.Locality.Zone, Subzone = workload.Locality.Subzone };
        }

        return new Wire.Address { Workload = wire };
    }

    public static Wire.Address Write(CoreService service)
    {
        var wire = new Wire.Service
        {
            Name = service.Name,
            Namespace = service.Namespace,
            Hostname = service.Hostname,
            Waypoint = Write(service.Waypoint),
            IpFamilies = (Wire.IPFamilies)service.IPFamilies,
            Canonical = service.Canonical,
            Visibility = (Wire.Service.Types.Visibility)service.Visibility,
        };
        wire.Addresses.Add(service.Vips.Select(vip => new Wire.NetworkAddress { Network = vip.Network, Address = Write(vip.Address) }));
        wire.Addresses.Add(service.CidrVips.Select(vip => new Wire.NetworkAddress { Network = vip.Network, Address = Write(vip.Range.BaseAddress), Length = (uint)vip.Range.PrefixLength }));
        wire.Ports.Add(Write(service.Ports));
        wire.SubjectAltNames.Add(service.SubjectAltNames);
        wire.WeightedWaypoints.Add(service.WeightedWaypoints.Select(waypoint => new Wire.WeightedWaypoint { Destination = Write(waypoint.Destination), Weight = waypoint.Weight }));
        if (service.LoadBalancing != LoadBalancing.Default)
        {
            wire.LoadBalancing = new Wire.LoadBalancing
            {
                Mode = (Wire.LoadBalancing.Types.Mode)service.LoadBalancing.Mode,
                HealthPolicy = (Wire.LoadBalancing.Types.HealthPolicy)service.LoadBalancing.HealthPolicy,
            };
            wire.LoadBalancing.RoutingPreference.Add(service.LoadBalancing.RoutingPreferences.Select(scope => (Wire.LoadBalancing.Types.Scope)scope));
        }

        return new Wire.Address { Service = wire };
    }

    // In order, so that the same record is always the same octets.
    private static IEnumerable<Wire.Port> Write(FrozenDictionary<int, int> ports) =>
        ports.OrderBy(port => port.Key).Select(port => new Wire.Port { ServicePort = (uint)port.Key, TargetPort = (uint)port.Value });

    private static Wire.GatewayAddress? Write(GatewayAddress? gateway)
    {
        if (gateway is null)
        {
            return null;
        }

        var wire = new Wire.GatewayAddress { HboneMtlsPort = (uint)gateway.HboneMtlsPort };
        if (gateway.Hostname is { } hostname)
        {
            wire.Hostname = new Wire.NamespacedHostname { Namespace = hostname.Namespace, Hostname = hostname.Hostname };
        }
        else if (gateway.Address is { } address)
        {
            wire.Address = new Wire.NetworkAddress { Network = address.Network, Address = Write(address.Address) };
        }

        return wire;
    }

    internal static ByteString Write(IPAddress address) => ByteString.CopyFrom(address.GetAddressBytes());
}
