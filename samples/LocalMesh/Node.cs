using System.Net;
using Mesh.Core.Workloads;
using Mesh.Ztunnel;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace LocalMesh;

/// <summary>A node: one ztunnel, with a proxy for each workload that the file puts there.</summary>
internal static class Node
{
    public static async Task<IHost> StartAsync(
        string name, IPAddress address, IEnumerable<Workload> workloads, Supply supply, EventHandler<ConnectionRecord> recorded)
    {
        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings());
        builder.Logging.AddSimpleConsole(console => console.SingleLine = true).SetMinimumLevel(LogLevel.Warning);

        // Denials are what this sample is about; its table shows them.
        builder.Logging.AddFilter("access", LogLevel.None);
        builder.Logging.AddFilter("Microsoft", LogLevel.None);
        builder.Services.AddSingleton(supply.Authority);
        builder.Services.AddZtunnel(options =>
        {
            options.NodeName = name;
            options.ListenAddress = address;
            supply.Configure(options);
            options.Socks5Enabled = true;
            foreach (var workload in workloads)
            {
                options.Workloads.Add(new WorkloadInfo(workload.Namespace, workload.Name, workload.ServiceAccount) { ListenAddress = workload.Addresses[0] });
            }
        });
        var host = builder.Build();
        host.Services.GetRequiredService<AccessLog>().Recorded += recorded;
        await host.StartAsync();
        return host;
    }
}
