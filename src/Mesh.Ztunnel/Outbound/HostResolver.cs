using System.Net;
using System.Net.Sockets;
using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Outbound;

/// <summary>Finds the addresses of host names that nobody has resolved before (ztunnel §1.1, §7.4).</summary>
internal sealed class HostResolver(ProxyContext context)
{
    /// <summary>An address of the host name of a workload that has no other.</summary>
    /// <exception cref="IOException">There is none.</exception>
    public async Task<IPAddress> ResolveAsync(OutboundPlan.Unresolved plan, Workload local, AddressFamily preferred, CancellationToken cancellationToken)
    {
        context.Metrics.ResolvedOnDemand(local, plan.Hostname);
        var addresses = (await LookUpAsync(plan.Hostname, cancellationToken)).Where(address => context.Options.IPv6Enabled || address.AddressFamily is AddressFamily.InterNetwork).ToList();
        var fitting = addresses.Where(address => address.AddressFamily == preferred).ToList();
        fitting = fitting.Count > 0 ? fitting : addresses;
        return fitting.Count > 0
            ? fitting[context.Random.Next(0, fitting.Count)]
            : throw new IOException($"no ip addresses were resolved for {plan.Hostname}, the host name of {plan.Workload.Uid}");
    }

    /// <summary>An address of a host name that a SOCKS client names: of a service of the mesh, else what the system's resolver says; null when there is none.</summary>
    public async Task<IPAddress?> ResolveAsync(string hostname, Workload local, AddressFamily family, CancellationToken cancellationToken)
    {
        var mesh = context.State.Current;
        if (mesh.FindServiceByHostname(hostname.TrimEnd('.'), local.Namespace) is { } service)
        {
            var vips = service.Vips.Where(vip => vip.Network == local.Network).Select(vip => vip.Address);
            return Socks5.Choose(vips, family) ?? Socks5.Choose(mesh.EndpointsOf(service.Key).Values.SelectMany(endpoint => endpoint.Addresses), family);
        }

        return Socks5.Choose(await LookUpAsync(hostname, cancellationToken), family);
    }

    private static async Task<IPAddress[]> LookUpAsync(string hostname, CancellationToken cancellationToken)
    {
        try
        {
            return await System.Net.Dns.GetHostAddressesAsync(hostname, cancellationToken);
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            return [];
        }
    }
}
